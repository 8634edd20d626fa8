"""NT-Xent, the normalised temperature-scaled cross entropy, with memory linear in the batch size.

The default temperatures are in the settings of the methods: `patient_contrast.py`, `simclr.py`, ...

Each row of the similarity matrix belongs to one view, so the rows are split over the devices like
the batch. The columns are the embeddings of all views. They are gathered once (views x dimension x
4 bytes) and processed in chunks, so the full matrix never exists. The matrix is symmetric. One more
pass over the chunks, with the log-sums of the other views at hand, gives each row its complete
gradient, and nothing has to be summed over devices.
"""

import jax
import jax.numpy as jnp

from ecgjax.devices import count, gathered

CHUNK_COLUMNS = 512
"""Columns of the similarity matrix per chunk and device."""
NO_PATIENT = -1
"""Patient number of an empty column, such as a free place in a queue."""


def nt_xent(
    projections: jax.Array,
    patients: jax.Array,
    *,
    temperature: float,
    queue_negatives: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Returns the NT-Xent loss (arXiv:2002.05709, eq. 1) with negatives of other patients only.

    Other recordings of the same patient are never negatives: they are left out of the denominator.

    Example:
      >>> pairs = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
      >>> loss, accuracy = nt_xent(pairs, jnp.array([0, 1]), temperature=0.5)
      >>> round(float(loss), 2), float(accuracy)
      (0.24, 1.0)

    Args:
      projections: [pair, 2, dimension], both views of each pair. Scaled to unit length here.
      patients: int [pair], not negative.
      temperature: divides the cosine similarities.
      queue_negatives: further negatives without gradient: unit vectors [queue, dimension] and their
        patients, int [queue], which are `NO_PATIENT` where the queue is empty.

    Returns:
      The mean loss over all views, and the share of views whose nearest neighbour is their partner.
    """
    unit = unit_length(projections)
    owner = jnp.repeat(patients, 2)
    if queue_negatives is None:
        queue = jnp.zeros((0, unit.shape[-1]), unit.dtype)
        queue_owner = jnp.zeros((0,), owner.dtype)
    else:
        queue, queue_owner = queue_negatives
    scale = temperature**-0.5  # for both factors of a similarity
    positive = jnp.repeat((unit[:, 0] * unit[:, 1]).sum(-1) / temperature, 2)
    rows = scale * unit.reshape(-1, unit.shape[-1])
    negatives, hardest = logsumexp_negatives(rows, owner, scale * queue, queue_owner)
    return (jnp.logaddexp(positive, negatives) - positive).mean(), (positive >= hardest).mean()


@jax.custom_vjp
def logsumexp_negatives(
    rows: jax.Array, owner: jax.Array, queue: jax.Array, queue_owner: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns log(sum(exp(row . negative))) of each row, and the largest product of each row.

    The negatives of a row are the rows and the queued vectors of other owners.

    Args:
      rows: float32 [row, dimension].
      owner: int [row].
      queue: float32 [queue, dimension], further negatives without gradient.
      queue_owner: int [queue]; `NO_PATIENT` where the queue is empty.

    Returns:
      Two float32 [row]; -inf and -1e30 for a row without negatives. The second has no gradient.
    """
    return _forward(rows, owner, queue, queue_owner)[0]


def _forward(rows: jax.Array, owner: jax.Array, queue: jax.Array, queue_owner: jax.Array):
    embeddings = jnp.concatenate([gathered(rows), queue])
    owners = jnp.concatenate([gathered(owner), queue_owner])
    chunks = (_chunks(embeddings), _chunks(owners, NO_PATIENT))

    def add_chunk(carry: tuple, chunk: tuple):
        largest, total = carry
        logits = _logits(rows, owner, *chunk)
        new_largest = jnp.maximum(largest, logits.max(1))
        rescaled = total * jnp.exp(largest - new_largest)
        return (new_largest, rescaled + jnp.exp(logits - new_largest[:, None]).sum(1)), None

    start = (jnp.full(len(rows), -1e30), jnp.zeros(len(rows)))
    (largest, total), _ = jax.lax.scan(add_chunk, start, chunks)
    log_sum = largest + jnp.log(total)
    return (log_sum, largest), (rows, owner, chunks, log_sum, len(queue))


def _backward(residuals: tuple, output_gradients: tuple[jax.Array, jax.Array]):
    rows, owner, chunks, log_sum, queue_length = residuals
    gradient = output_gradients[0]

    def add_chunk(carry: jax.Array, chunk: tuple):
        embeddings, column_owner, column_gradient, column_log_sum = chunk
        logits = _logits(rows, owner, embeddings, column_owner)
        as_row = gradient[:, None] * jnp.exp(logits - log_sum[:, None])
        as_column = column_gradient[None, :] * jnp.exp(logits - column_log_sum[None, :])
        weight = jnp.where(jnp.isneginf(logits), 0, as_row + as_column)
        return carry + jnp.matmul(weight, embeddings, precision="highest"), None

    # A queued vector has no loss of its own: its gradient is 0 and its softmax share is exp(-inf).
    column_gradient = jnp.pad(gathered(gradient), (0, queue_length))
    column_log_sum = jnp.pad(gathered(log_sum), (0, queue_length), constant_values=jnp.inf)
    columns = (*chunks, _chunks(column_gradient), _chunks(column_log_sum))
    row_gradient, _ = jax.lax.scan(add_chunk, jnp.zeros_like(rows), columns)
    return row_gradient, None, None, None


logsumexp_negatives.defvjp(_forward, _backward)


def _logits(
    rows: jax.Array, owner: jax.Array, embeddings: jax.Array, column_owner: jax.Array
) -> jax.Array:
    """Products [row, column], -inf where the column is empty or has the row's own patient."""
    # An accelerator's default precision keeps 8 to 11 bits of the factors, and division by the
    # temperature magnifies the error.
    logits = jnp.matmul(rows, embeddings.T, precision="highest")
    negative = (column_owner[None, :] != owner[:, None]) & (column_owner[None, :] != NO_PATIENT)
    return jnp.where(negative, logits, -jnp.inf)


def _chunks(columns: jax.Array, fill: int = 0) -> jax.Array:
    """Splits [column, ...] into [chunk, chunk size, ...]; the last chunk is padded with `fill`.

    With more devices, each has fewer rows and takes larger chunks: memory stays the same, and the
    loop has fewer iterations.
    """
    size = min(len(columns), CHUNK_COLUMNS * count())
    padding = [(0, -len(columns) % size)] + [(0, 0)] * (columns.ndim - 1)
    return jnp.pad(columns, padding, constant_values=fill).reshape(-1, size, *columns.shape[1:])


def unit_length(vectors: jax.Array) -> jax.Array:
    """Scales vectors [..., dimension] to length 1; the gradient of a zero vector is finite."""
    return vectors * jax.lax.rsqrt(jnp.square(vectors).sum(-1, keepdims=True) + 1e-12)
