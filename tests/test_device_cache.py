"""Recordings in device memory: what a batch fetches is what the shards hold, on one device and on eight."""

import jax
import numpy as np
import pytest

from ecgjax.data.batches import pretraining_batches
from ecgjax.errors import InputError
from ecgjax.train import device_cache
from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.sharding import data_mesh, split


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("examples", ["single", "patient_pair"])
def test_batches_are_those_of_the_shards(records, devices, examples, monkeypatch):
    """Read seven recordings at a time; 8 does not divide the number of recordings."""
    monkeypatch.setattr(device_cache, "_READ_AT_ONCE", 7)
    mesh, indices = data_mesh(jax.devices()[:devices]), records.split("train")[3:]
    assert len(indices) % 8
    cache = DeviceCache(records, indices, mesh)
    settings = {"examples": examples, "batch_size": 16, "seed": 4}
    streamed = pretraining_batches(records, indices, **settings)
    cached = pretraining_batches(records, indices, **settings, read=cache.slots)
    fetch = jax.jit(cache.fetch)
    for number in (0, 5):
        found = fetch(cache.signals, jax.device_put(cached.make(number), split(mesh)))
        assert found["signal"].sharding.is_equivalent_to(split(mesh), found["signal"].ndim)
        jax.tree.map(np.testing.assert_array_equal, found, streamed.make(number))
    each = -(-len(indices) // devices)
    assert {shard.data.shape for shard in cache.signals.addressable_shards} == {(each, 1000, 12)}


def test_too_many_recordings_are_refused(records):
    class Small:
        """A device with room for one recording."""

        def memory_stats(self):
            return {"bytes_limit": 30_000}

    class Mesh:
        size, local_devices = 1, [Small()]

    with pytest.raises(InputError, match="--cache device: .* use more devices or --cache none"):
        DeviceCache(records, records.split("train"), Mesh())
