"""What a step may say of the devices that its batch is split over; elsewhere there is one, and nothing is said.

Objectives and encoders compute with whole batches, and the compiler splits the work. These are for where it needs help.
"""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec


def count() -> int:
    """Over how many devices the batch is split."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


def gathered(rows: jax.Array) -> jax.Array:
    """All rows on every device, at once: the compiler might do it anew wherever they are used, as in a loop."""
    if jax.sharding.get_abstract_mesh().empty:
        return rows
    return jax.lax.with_sharding_constraint(rows, PartitionSpec())


def by_rows(function: Callable[..., jax.Array], rows: jax.Array, *whole: jax.Array) -> jax.Array:
    """function(rows, *whole), of which every device computes its own rows, for a `function` that mixes none of them.

    The compiler finds that out by itself, but not of Fourier transforms: it brought the whole batch to every device,
    and each transformed all of it.

    Args:
      function: rows [row, ...], whole -> [row, ...].
      rows: split along its first axis wherever the step is.
      whole: the same on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or len(rows) % mesh.size:
        return function(rows, *whole)
    split, entire = PartitionSpec("data"), PartitionSpec()
    in_specs = (split, *(entire for _ in whole))
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=split)(rows, *whole)
