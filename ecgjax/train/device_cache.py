"""Recordings in device memory (`--cache device`): the host sends slot numbers, not signals.

int16, split over the mesh: PTB-XL at 100 Hz takes 0.5 GB in all, MIMIC-IV-ECG at 250 Hz 48 GB.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ecgjax.data.mixture import Mixture
from ecgjax.data.places import places
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from ecgjax.train.sharding import split

_READ_AT_ONCE = 2048  # recordings; the host never holds more


class DeviceCache:
    """The recordings `indices` of a data set, on the devices of a mesh.

    Attributes:
      signals: int16 [slot, time, lead], the first axis split over the mesh and padded to a multiple
        of its size.
    """

    def __init__(self, records: Records | Mixture, indices: np.ndarray, mesh: Mesh):
        self._indices = np.sort(indices)
        self._mesh = mesh
        each = -(-len(indices) // mesh.size)
        shape = (each * mesh.size, records.samples, len(LEADS))
        _check_memory(each * records.samples * len(LEADS) * 2, mesh)
        parts = [
            _filled(device, records, self._indices[part[0]], each)
            for device, part in split(mesh).addressable_devices_indices_map(shape).items()
            if part
        ]
        self.signals = jax.make_array_from_single_device_arrays(shape, split(mesh), parts)

    def slots(self, indices: np.ndarray) -> np.ndarray:
        """Returns int32, the slot in `signals` of each recording, in the shape of `indices`."""
        return places(self._indices, indices).astype(np.int32)

    def fetch(self, signals: jax.Array, batch: dict) -> dict:
        """Replaces "slot" in a batch by "signal". Jittable; both are split over the mesh.

        Every device looks up the slots of the whole batch in its own part, and each recording moves
        from the device that stores it to the device of its row: a reduce-scatter of int16, which
        sends the batch once over the interconnect.

        Args:
          signals: the attribute of that name, as an argument of the jitted function.
          batch: {"slot": int32 [row] or [row, 2], ...}.
        """

        def look_up(signals: jax.Array, slots: jax.Array) -> jax.Array:
            first = jax.lax.axis_index("data") * len(signals)
            local = jax.lax.all_gather(slots, "data", tiled=True) - first
            stored_here = (local >= 0) & (local < len(signals))
            recordings = signals[jnp.where(stored_here, local, 0)]
            recordings = jnp.where(stored_here[..., None, None], recordings, jnp.int16(0))
            return jax.lax.psum_scatter(recordings, "data", scatter_dimension=0, tiled=True)

        others = {name: part for name, part in batch.items() if name != "slot"}
        if self._mesh.size == 1:
            return {**others, "signal": signals[batch["slot"]]}
        rows = PartitionSpec("data")
        look_up = jax.shard_map(look_up, mesh=self._mesh, in_specs=(rows, rows), out_specs=rows)
        return {**others, "signal": look_up(signals, batch["slot"])}


def _filled(device: Any, records: Records | Mixture, indices: np.ndarray, size: int) -> jax.Array:
    """Returns int16 [size, time, lead] on one device, read piece by piece."""
    write = jax.jit(
        lambda whole, piece, start: jax.lax.dynamic_update_slice_in_dim(
            whole, piece, start, axis=0
        ),
        donate_argnums=0,
    )
    whole = jnp.zeros((size, records.samples, len(LEADS)), jnp.int16, device=device)
    for start in range(0, len(indices), _READ_AT_ONCE):
        piece = jax.device_put(records.read(indices[start : start + _READ_AT_ONCE]), device)
        whole = write(whole, piece, start)
    return whole


def _check_memory(needed: int, mesh: Mesh) -> None:
    for device in mesh.local_devices:
        limit = (device.memory_stats() or {}).get("bytes_limit")
        if limit and needed > 0.8 * limit:
            raise InputError(
                f"--cache device: {needed / 1e9:.1f} GB of recordings on {device}, which has "
                f"{limit / 1e9:.1f} GB and needs the rest for training; use more devices or "
                f"--cache none"
            )
