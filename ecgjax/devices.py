"""Sharding hints for code inside a training step. On one device they do nothing.

Objectives and encoders compute with whole batches, and the compiler splits the work over the
devices. These functions help it where it splits badly.
"""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec


def count() -> int:
    """Returns the number of devices over which the batch is split."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


def gathered(rows: jax.Array) -> jax.Array:
    """Gathers all rows on every device, once.

    Without this hint the compiler may gather them again at every use, for example in a loop.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return rows
    return jax.lax.with_sharding_constraint(rows, PartitionSpec())


def map_rows(function: Callable[..., jax.Array], rows: jax.Array, *whole: jax.Array) -> jax.Array:
    """Computes function(rows, *whole); every device computes its own rows only.

    `function` must not mix rows. The compiler splits most functions by itself, but not Fourier
    transforms: it brought the whole batch to every device, and each device transformed all of it.

    Args:
      function: rows [row, ...], whole -> [row, ...].
      rows: split along its first axis if the step is split.
      whole: arrays that are the same on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or len(rows) % mesh.size:
        return function(rows, *whole)
    split = PartitionSpec("data")
    in_specs = (split, *(PartitionSpec() for _ in whole))
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=split)(rows, *whole)
