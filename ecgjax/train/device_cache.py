"""Recordings that wait in device memory: the host only says which ones a batch holds, and is out of the loop.

int16, split over the mesh: PTB-XL at 100 Hz takes 0.5 GB in all, MIMIC-IV-ECG at 250 Hz 48 GB.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from ecgjax.data.mixture import Mixture
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.train.sharding import split

_READ_AT_ONCE = 2048  # recordings; the host never holds more


class DeviceCache:
    """The recordings `indices` of a data set, on the devices of a mesh.

    Attributes:
      signals: int16 [recording, time, lead], the first axis split over the mesh and padded to a multiple of its size.
    """

    def __init__(self, records: Records | Mixture, indices: np.ndarray, mesh: Mesh):
        self._indices, self._mesh = np.sort(indices), mesh
        each = -(-len(indices) // mesh.size)
        shape = (each * mesh.size, records.samples, 12)
        _check_memory(each * records.samples * 12 * 2, mesh)
        parts = [
            _filled(device, records, self._indices[part[0]], each)
            for device, part in split(mesh).addressable_devices_indices_map(shape).items()
            if part
        ]
        self.signals = jax.make_array_from_single_device_arrays(shape, split(mesh), parts)

    def slots(self, rows: np.ndarray) -> np.ndarray:
        """Recordings' numbers, any shape -> int32, their places in `signals`."""
        return np.searchsorted(self._indices, rows).astype(np.int32)

    def fetch(self, signals: jax.Array, batch: dict) -> dict:
        """A batch whose "signal" holds slots, split over the mesh -> one that holds the signals. Jittable.

        Every device looks up the whole batch in its own part, and each recording goes from where it is to where its
        row is: a reduce-scatter of int16, once the batch's size over the interconnect.
        """

        def part_of(signals: jax.Array, slots: jax.Array) -> jax.Array:
            wanted = jax.lax.all_gather(slots, "data", tiled=True) - jax.lax.axis_index(
                "data"
            ) * len(signals)
            mine = (wanted >= 0) & (wanted < len(signals))
            found = jnp.where(
                mine[..., None, None], signals[jnp.where(mine, wanted, 0)], jnp.int16(0)
            )
            return jax.lax.psum_scatter(found, "data", scatter_dimension=0, tiled=True)

        if self._mesh.size == 1:
            return {**batch, "signal": signals[batch["signal"]]}
        rows = PartitionSpec("data")
        look_up = jax.shard_map(part_of, mesh=self._mesh, in_specs=(rows, rows), out_specs=rows)
        return {**batch, "signal": look_up(signals, batch["signal"])}


def _filled(device: Any, records: Records | Mixture, indices: np.ndarray, size: int) -> jax.Array:
    """int16 [size, time, lead] on one device, read piece by piece."""
    write = jax.jit(
        lambda whole, piece, start: jax.lax.dynamic_update_slice_in_dim(
            whole, piece, start, axis=0
        ),
        donate_argnums=0,
    )
    whole = jnp.zeros((size, records.samples, 12), jnp.int16, device=device)
    for start in range(0, len(indices), _READ_AT_ONCE):
        piece = jax.device_put(records.read(indices[start : start + _READ_AT_ONCE]), device)
        whole = write(whole, piece, start)
    return whole


def _check_memory(needed: int, mesh: Mesh) -> None:
    for device in mesh.local_devices:
        limit = (device.memory_stats() or {}).get("bytes_limit")
        if limit and needed > 0.8 * limit:
            raise InputError(
                f"--cache device: {needed / 1e9:.1f} GB of recordings on {device}, which has {limit / 1e9:.1f} GB and "
                f"needs the rest for training; use more devices or --cache none"
            )
