"""Whether a run has collapsed: how far an encoder's embeddings spread, and in how many directions.

Every objective logs these of the encoder's embedding (not of what its heads make of it), of recordings or, where it
makes views, of views, so that a collapse looks alike whatever the method.
"""

import jax
import jax.numpy as jnp

ROWS = 64
"""Embeddings that are looked at: enough to tell, as cheap for a batch of 32,768 as for one of 64, and as many for every
method, since no more directions than embeddings can show."""


def collapse_metrics(embedding: jax.Array) -> dict[str, jax.Array]:
    """Of embeddings [recording or view, dimension]; no gradient passes.

    Returns:
      embedding_std: mean over dimensions of the standard deviation over recordings, as a share of the embeddings' root
        mean square: 0 if all are the same, whatever their scale.
      embedding_rank: directions in which they vary, 1 to dimension: the participation ratio of the covariance's
        eigenvalues, sum squared over sum of squares. Needs no eigenvalues.
    """
    few = jax.lax.stop_gradient(first_rows(embedding)).astype(jnp.float32)
    size = jnp.sqrt(jnp.square(few).mean()) + 1e-12
    centred = (few - few.mean(0, keepdims=True)) / size
    covariance = centred.T @ centred / len(few)
    rank = jnp.square(jnp.trace(covariance)) / (jnp.square(covariance).sum() + 1e-24)
    return {"embedding_std": centred.std(0).mean(), "embedding_rank": rank}


def first_rows(array: jax.Array) -> jax.Array:
    """The first `ROWS` of [row, ...], or all there are."""
    if len(array) <= ROWS:
        return array
    # A gather, which over split rows is one sum over the devices. Of a slice the compiler sends the rows one by one: 63
    # messages, a third of the estimated step of 256 chips.
    return array.at[jnp.arange(ROWS)].get(mode="promise_in_bounds")
