"""NT-Xent, and why it is cheap for large batches.

A row of the matrix of similarities belongs to one view, so rows are split over the devices as the batch is. Columns are
everybody's embeddings: they are gathered once (views x dimension x 4 bytes) and visited piece by piece, so the matrix
never exists and memory grows linearly with the batch. The matrix is symmetric, so one more visit, with the other views'
normalisers at hand, gives each row its whole gradient: nothing has to be summed over devices.
"""

import jax
import jax.numpy as jnp

from ecgjax.devices import count, gathered

COLUMNS_AT_ONCE = 512
NOBODY = -1
"""As a column's patient: nobody is there."""


def nt_xent(
    projections: jax.Array,
    patients: jax.Array,
    *,
    temperature: float,
    more: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Normalised temperature-scaled cross entropy (arXiv:2002.05709, eq. 1) that never repels a patient from herself.

    Args:
      projections: [pair, 2, dimension], both views of each pair. Scaled to unit length here.
      patients: int [pair], not negative. Views of the same patient in another pair are left out of the denominator.
      temperature: divides the cosine similarities.
      more: further negatives, which get no gradient: unit vectors [queue, dimension] and their patients [queue].

    Returns:
      The mean loss over all views, and the share of views whose nearest neighbour is its partner.
    """
    unit, owner = unit_length(projections), jnp.repeat(patients, 2)
    if more is None:
        more = jnp.zeros((0, unit.shape[-1]), unit.dtype), jnp.zeros((0,), owner.dtype)
    scale = temperature**-0.5  # of each factor of a similarity
    positive = jnp.repeat((unit[:, 0] * unit[:, 1]).sum(-1) / temperature, 2)
    rows = scale * unit.reshape(-1, unit.shape[-1])
    negatives, hardest = log_sum_of_negatives(rows, owner, scale * more[0], more[1])
    return (jnp.logaddexp(positive, negatives) - positive).mean(), (positive >= hardest).mean()


@jax.custom_vjp
def log_sum_of_negatives(
    rows: jax.Array, owner: jax.Array, more: jax.Array, more_owner: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """For each row log(sum(exp(row . column))) over the rows of other owners, and the largest product.

    Args:
      rows: float32 [row, dimension].
      owner: int [row].
      more: float32 [column, dimension], further columns without a gradient.
      more_owner: int [column]; `NOBODY` where a column is empty.

    Returns:
      Two float32 [row]; -inf and -1e30 for a row without negatives. The second has no gradient.
    """
    return _forward(rows, owner, more, more_owner)[0]


def _forward(rows: jax.Array, owner: jax.Array, more: jax.Array, more_owner: jax.Array):
    embeddings, owners = (
        jnp.concatenate([gathered(rows), more]),
        jnp.concatenate([gathered(owner), more_owner]),
    )
    columns = _pieces(embeddings), _pieces(owners, NOBODY)

    def visit(so_far, piece):
        largest, total = so_far
        logits = _logits(rows, owner, *piece)
        top = jnp.maximum(largest, logits.max(1))
        return (top, total * jnp.exp(largest - top) + jnp.exp(logits - top[:, None]).sum(1)), None

    start = jnp.full(len(rows), -1e30), jnp.zeros(len(rows))
    (largest, total), _ = jax.lax.scan(visit, start, columns)
    log_sum = largest + jnp.log(total)
    return (log_sum, largest), (rows, owner, columns, log_sum, len(more))


def _backward(saved: tuple, slopes: tuple[jax.Array, jax.Array]):
    rows, owner, columns, log_sum, more = saved
    slope = slopes[0]

    def visit(so_far, piece):
        embeddings, their_owner, their_slope, their_log_sum = piece
        logits = _logits(rows, owner, embeddings, their_owner)
        as_row = slope[:, None] * jnp.exp(logits - log_sum[:, None])
        as_column = their_slope[None, :] * jnp.exp(logits - their_log_sum[None, :])
        weight = jnp.where(jnp.isneginf(logits), 0, as_row + as_column)
        return so_far + jnp.matmul(weight, embeddings, precision="highest"), None

    # A further column has no loss of its own: no slope, and a share of exp(-inf) for every row.
    theirs = (
        jnp.pad(gathered(slope), (0, more)),
        jnp.pad(gathered(log_sum), (0, more), constant_values=jnp.inf),
    )
    gradient, _ = jax.lax.scan(visit, jnp.zeros_like(rows), (*columns, *map(_pieces, theirs)))
    return gradient, None, None, None


log_sum_of_negatives.defvjp(_forward, _backward)


def _logits(
    rows: jax.Array, owner: jax.Array, embeddings: jax.Array, their_owner: jax.Array
) -> jax.Array:
    """[row, column], -inf where the column is the row's own patient or nobody."""
    # highest: an accelerator's default keeps 8 to 11 bits of the factors, and the temperature magnifies what is lost.
    logits = jnp.matmul(rows, embeddings.T, precision="highest")
    negative = (their_owner[None, :] != owner[:, None]) & (their_owner[None, :] != NOBODY)
    return jnp.where(negative, logits, -jnp.inf)


def _pieces(columns: jax.Array, fill: int = 0) -> jax.Array:
    """[column, ...] -> [piece, columns at once, ...], filled up at the end.

    A device among many has fewer rows and takes more columns for it: as much memory, and fewer rounds of the loop.
    """
    size = min(len(columns), COLUMNS_AT_ONCE * count())
    padding = [(0, -len(columns) % size)] + [(0, 0)] * (columns.ndim - 1)
    return jnp.pad(columns, padding, constant_values=fill).reshape(-1, size, *columns.shape[1:])


def unit_length(vectors: jax.Array) -> jax.Array:
    """Vectors [..., dimension] scaled to length 1; the small constant keeps the gradient of a zero vector finite."""
    return vectors * jax.lax.rsqrt(jnp.square(vectors).sum(-1, keepdims=True) + 1e-12)
