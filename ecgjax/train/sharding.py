"""The mesh: one axis "data". Batches are split along it, everything else is on every device.

Matrix products and batch statistics over a split batch are global: the compiler inserts the collectives, so the loss of
eight devices is the loss of one.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ecgjax.errors import InputError


def data_mesh(devices: list | None = None) -> Mesh:
    """A mesh over `devices`, by default all there are."""
    devices = jax.devices() if devices is None else devices
    # Auto, said out loud: under Explicit axes (jax's default) a product of two split arrays is an error.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device: parameters, optimizer state, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis in equal parts: a batch, or recordings that wait in device memory."""
    return NamedSharding(mesh, PartitionSpec("data"))


def split_stack(mesh: Mesh) -> NamedSharding:
    """The second axis in equal parts: a stack of batches, [step, batch, ...]."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


def rows_here(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Rows of a global batch that this process's devices hold, ascending: those it has to read."""
    parts = split(mesh).addressable_devices_indices_map((batch_size,)).values()
    return np.unique(np.concatenate([np.arange(batch_size)[part] for part in parts if part]))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raises InputError unless every device gets the same number of examples."""
    if batch_size < 1 or batch_size % mesh.size:
        raise InputError(
            f"batch of {batch_size} over {mesh.size} devices: give --batch-size a multiple of {mesh.size}"
        )


def place(stack: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's part of a stack of batches -> the global, split one."""
    return jax.tree.map(
        lambda part: jax.make_array_from_process_local_data(split_stack(mesh), part), stack
    )
