"""The device mesh with its one axis "data": batches are split along it, all else is replicated.

Matrix products and batch statistics over a split batch are global: the compiler inserts the
collectives, so the loss on eight devices is the loss on one.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ecgjax.errors import InputError


def data_mesh(devices: list | None = None) -> Mesh:
    """Makes a mesh over `devices`, by default over all of them."""
    devices = jax.devices() if devices is None else devices
    # Not JAX's default, Explicit: with it a product of two split arrays is an error.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of parameters, optimizer state and metrics: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch or of cached recordings: the first axis is split."""
    return NamedSharding(mesh, PartitionSpec("data"))


def split_stack(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a stack of batches [step, batch, ...]: the second axis is split."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def rows_here(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Returns the rows of a global batch that this process has to read, ascending."""
    parts = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[part] for part in parts if part]))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises InputError unless every device gets the same number of examples."""
    if batch_size < 1 or batch_size % mesh.size:
        raise InputError(
            f"batch of {batch_size} over {mesh.size} devices: "
            f"give --batch-size a multiple of {mesh.size}"
        )


def place(stack: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes the global, split stack of batches from this process's part of it."""
    return jax.tree.map(
        lambda part: jax.make_array_from_process_local_data(split_stack(mesh), part), stack
    )
