"""Recordings in device memory equal those of the shards, on one device and on eight."""

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
def test_batches_of_the_cache_equal_those_of_the_shards(records, devices, examples, monkeypatch):
    """The cache reads seven recordings at a time; 8 does not divide the number of recordings."""
    monkeypatch.setattr(device_cache, "_READ_AT_ONCE", 7)
    mesh = data_mesh(jax.devices()[:devices])
    indices = records.split("train")[3:]
    assert len(indices) % 8
    cache = DeviceCache(records, indices, mesh)
    settings = {"examples": examples, "batch_size": 16, "seed": 4}
    streamed = pretraining_batches(records, [indices], **settings)
    cached = pretraining_batches(records, [indices], **settings, cache=cache)
    fetch = jax.jit(cache.fetch)
    for number in (0, 5):
        batch = fetch(cache.signals, jax.device_put(cached.make(number), split(mesh)))
        assert batch["signal"].sharding.is_equivalent_to(split(mesh), batch["signal"].ndim)
        jax.tree.map(np.testing.assert_array_equal, batch, streamed.make(number))
    each = -(-len(indices) // devices)
    assert {shard.data.shape for shard in cache.signals.addressable_shards} == {(each, 1000, 12)}


def test_recordings_that_do_not_fit_into_memory_are_refused(records):
    class Small:
        """A device with room for one recording."""

        def memory_stats(self):
            return {"bytes_limit": 30_000}

    class Mesh:
        size = 1
        local_devices = [Small()]

    with pytest.raises(InputError, match="--cache device: .* use more devices or --cache none"):
        DeviceCache(records, records.split("train"), Mesh())
