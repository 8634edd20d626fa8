"""Random recordings of a conversion, read from its finished shards: what the report shows of all.

The choice depends on the number of recordings alone, so that it is the same for any number of
workers.
"""

import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from tfds_builders.conversion.plan import Kept, Shard

SEED = 0
MEASURED = 200
"""Recordings whose heart rate, height and polarity are measured. A median heart rate of 200
recordings is right within about 2 bpm."""


class Accepted(NamedTuple):
    """A recording that was written, with its samples."""

    row: Kept
    signal: np.ndarray
    """int16 [time, 12], 1 uV per LSB, MISSING for a missing sample."""


def choose(count: int, wanted: int) -> list[int]:
    """Returns the numbers of `wanted` different recordings of `count`, or of all, in random order.

    The first numbers are a random choice as well.
    """
    return random.Random(SEED).sample(range(count), min(count, wanted))


def draw(
    shards: Sequence[Shard], features: tfds.features.FeaturesDict, wanted: int = MEASURED
) -> list[Accepted]:
    """Reads random recordings from shards that hold what their plans say.

    Args:
      shards: the shards of a conversion, without duplicates.
      features: the features of an example.
      wanted: number of recordings, if there are that many.
    """
    places = [(shard, index) for shard in shards for index in range(len(shard.kept))]
    chosen = [places[number] for number in choose(len(places), wanted)]
    signals: dict[str, np.ndarray] = {}
    for path in dict.fromkeys(shard.path for shard, _ in chosen):
        rows = [(shard.kept[index], index) for shard, index in chosen if shard.path == path]
        examples = read(path, [index for _, index in rows])
        for (row, _), example in zip(rows, examples, strict=True):
            decoded: Any = features.deserialize_example_np(example)
            signals[row.recording.record_id] = decoded["signal"]
    kept = [shard.kept[index] for shard, index in chosen]
    return [Accepted(row, signals[row.recording.record_id]) for row in kept]


def read(path: Path, indices: Sequence[int]) -> list[bytes]:
    """Returns serialized examples of a shard."""
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        return reader.read(list(indices))
