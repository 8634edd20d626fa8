"""Metrics that show a collapse: the spread and the effective rank of an encoder's embeddings.

Every objective logs them for the encoder's embedding, not for the projections of its heads. The
rows are recordings, or views if the method makes views. A collapse therefore looks the same in the
log of every method.
"""

import jax
import jax.numpy as jnp

MAX_ROWS = 64
"""Number of embeddings that the metrics use. It is the same for every method because the rank
cannot exceed the number of rows, and it costs the same for a batch of 64 and for one of 32,768."""


def collapse_metrics(embedding: jax.Array) -> dict[str, jax.Array]:
    """Returns the spread and the effective rank of embeddings [row, dimension], without gradient.

    Returns:
      embedding_std: standard deviation over rows, averaged over dimensions and divided by the
        embeddings' root mean square. It is 0 if all embeddings are equal, at any scale.
      embedding_rank: number of directions in which the embeddings vary, from 1 to dimension. It is
        the participation ratio of the covariance's eigenvalues (the squared sum divided by the sum
        of squares), computed without an eigendecomposition.
    """
    rows = jax.lax.stop_gradient(first_rows(embedding)).astype(jnp.float32)
    root_mean_square = jnp.sqrt(jnp.square(rows).mean()) + 1e-12
    centred = (rows - rows.mean(0, keepdims=True)) / root_mean_square
    covariance = centred.T @ centred / len(rows)
    rank = jnp.square(jnp.trace(covariance)) / (jnp.square(covariance).sum() + 1e-24)
    return {"embedding_std": centred.std(0).mean(), "embedding_rank": rank}


def first_rows(array: jax.Array) -> jax.Array:
    """Returns the first `MAX_ROWS` rows of an array [row, ...], or all rows if there are fewer."""
    if len(array) <= MAX_ROWS:
        return array
    # If the rows are split over devices, a gather becomes one sum over the devices. The compiler
    # turns a slice into one message per row: 63 messages, a third of the estimated step time on 256
    # chips.
    return array.at[jnp.arange(MAX_ROWS)].get(mode="promise_in_bounds")
