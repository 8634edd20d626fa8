"""TFDS's descriptions of a prepared data set, read as plain JSON.

TFDS itself would import the classes that features.json names. Only what `prepare` writes is
accepted here, and the names of classes are not looked at.
"""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

from ecgjax.data.binding import Binding
from ecgjax.data.files import damage_named, inside, read_json
from ecgjax.signals import LEADS

SPLITS = ("train", "validation", "test")
INFO = "dataset_info.json"
FEATURES = "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
"""TFDS's pattern of the shards' names."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_MOST_BYTES = 4_000_000  # 200,000 shards; five million recordings have 5,000


@dataclasses.dataclass(frozen=True)
class Description:
    """The descriptions, as far as they are needed to read recordings."""

    by_split: dict[str, list[tuple[str, int]]]
    """(file name, recordings) of every shard of each split, in the order of `SPLITS`."""
    samples: int
    """Samples of a recording."""

    @property
    def shards(self) -> list[tuple[str, int]]:
        """(file name, recordings) of every shard: train, then validation, then test."""
        return [shard for shards in self.by_split.values() for shard in shards]

    @property
    def rows(self) -> dict[str, range]:
        """Rows of each split in the table."""
        counts = [sum(count for _, count in shards) for shards in self.by_split.values()]
        ends = itertools.accumulate(counts)
        ranges = [range(end - count, end) for count, end in zip(counts, ends, strict=True)]
        return dict(zip(self.by_split, ranges, strict=True))


def read(folder: Path, binding: Binding | None) -> Description:
    """Reads both descriptions of a data set.

    Args:
      folder: the data set.
      binding: their hashes, if the data set has them.

    Raises:
      InputError: one is missing or damaged, is not the one that was written, or describes another
        kind of data set.
    """
    info_file = inside(folder, INFO)
    features_file = inside(folder, FEATURES)
    info = read_json(info_file, _MOST_BYTES)
    features = read_json(features_file, _MOST_BYTES)
    if binding:
        binding.check(info_file)
        binding.check(features_file)
    with damage_named(info_file):
        shards = _shards(info)
    with damage_named(features_file):
        return Description(shards, _samples(features["featuresDict"]["features"]))


def _shards(info: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    name = info["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("the name of the data set is not one")
    if info["fileFormat"] != "array_record":
        raise ValueError("fileFormat is not array_record")
    splits = {split["name"]: split for split in info["splits"]}
    if len(splits) != len(info["splits"]) or not splits.keys() <= set(SPLITS):
        raise ValueError(f"splits other than {', '.join(SPLITS)}")
    return {split: _shards_of_split(name, splits[split]) for split in SPLITS if split in splits}


def _shards_of_split(name: str, split: dict[str, Any]) -> list[tuple[str, int]]:
    if split.get("filepathTemplate", TEMPLATE) != TEMPLATE:
        raise ValueError(f"filepathTemplate is not {TEMPLATE}")
    lengths = split["shardLengths"]
    if not isinstance(lengths, list):
        raise ValueError("shardLengths is not a list")
    prefix = f"{name}-{split['name']}.array_record"
    return [
        (f"{prefix}-{index:05d}-of-{len(lengths):05d}", _positive(length))
        for index, length in enumerate(lengths)
    ]


def _samples(features: dict[str, Any]) -> int:
    """Returns the samples of a recording after checking how it is stored."""
    signal = features["signal"]["tensor"]
    samples, leads = map(_positive, signal["shape"]["dimensions"])
    if "record_id" not in features or leads != len(LEADS):
        raise ValueError(f"no record_id, or no signal of {len(LEADS)} leads")
    if (signal["dtype"], signal["encoding"]) != ("int16", "bytes"):
        raise ValueError("signal is not stored as the bytes of int16")
    return samples


def _positive(value: object) -> int:
    """Returns a positive number, which protocol buffers write as text into JSON."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or not int(value):
        raise ValueError(f"{str(value)[:40]!r} is not a positive number in quotes")
    return int(value)
