"""The plan of a shard, the outcome of writing it, and the part of a builder that a worker needs."""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.data.sketches import DIGITS
from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.recording.recording import SPLITS, Recording, RecordingsConfig


class RecordingReader(Protocol):
    """The part of a builder that a worker needs to write a shard; picklable."""

    name: ClassVar[str]
    """Name of the data set."""

    @property
    def builder_config(self) -> RecordingsConfig:
        """The sampling rate and length of the stored recordings."""
        ...

    def features(self) -> tfds.features.FeaturesDict:
        """Returns the features of an example."""
        ...

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        """Returns the example of a recording, or raises an InputError to reject it."""
        ...


class SourceTable(Protocol):
    """The table of recordings that a user gives."""

    def summary(self) -> dict[str, Any]:
        """Returns what was used of the table and what was not, for `summary.summarise`."""
        ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """A shard to write."""

    path: Path
    journal: Path
    """File that records the outcome of this shard."""
    about: str
    """Data set, version, settings and source; a shard written with others is not reused."""
    split: str
    recordings: Sequence[Recording]


@dataclasses.dataclass(frozen=True)
class Kept:
    """A recording that was written."""

    recording: Recording
    quality: list[str]
    waveform_hash: str
    """First 32 hex digits of the SHA-256 of the int16 samples."""
    valid_samples: int
    """Samples up to the last one that is not missing in all leads; the rest is padding."""
    small: np.ndarray | None = None
    """Thumbnail for report.html if the recording has flags: int16 [POINTS, 12]."""
    sketch: str = "0" * DIGITS
    """Hexadecimal digits of `ecgjax.data.sketches`, which copies of the recording share."""

    @property
    def kind(self) -> str:
        """Category used to pick examples for the report: the first flag without the lead."""
        return self.quality[0].split(":")[0] if self.quality else ""


@dataclasses.dataclass(frozen=True)
class Rejection:
    """A recording that was not written."""

    record_id: str
    split: str
    reason: str
    """A key of `quality.REASONS`."""
    detail: str
    small: np.ndarray | None = None
    """Thumbnail for report.html if the samples could be read: int16 [POINTS, 12]."""

    @property
    def kind(self) -> str:
        """Category used to pick examples for the report."""
        return f"rejected {self.reason}"

    def as_row(self) -> dict[str, str]:
        """Returns all fields but the thumbnail."""
        names = ("record_id", "split", "reason", "detail")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class Shard:
    """The outcome of a shard's recordings, each list in the order of the plan."""

    path: Path
    split: str
    kept: list[Kept]
    rejections: list[Rejection]


Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in total) after each shard."""
Run = Callable[[RecordingReader, Sequence[Plan]], Iterator[Shard]]
"""Yields the shards in the order of the plans: `shards.write_all`, or on other machines."""


def select(recordings: list[Recording], limit: int | None) -> list[Recording]:
    """Returns the recordings to convert, split by split, after checks of the whole list.

    Args:
      recordings: all recordings of the source.
      limit: number of recordings to keep of each split; None keeps all.

    Raises:
      InputError: there is none, a record id occurs twice, or a patient is in several splits.
    """
    if not recordings:
        raise InputError("no recordings found; give the folder that holds them as --source")
    if unknown := {recording.split for recording in recordings} - set(SPLITS):
        raise ValueError(f"split {', '.join(unknown)}: not one of {', '.join(SPLITS)}")
    ids = Counter(recording.record_id for recording in recordings)
    if repeated := [record_id for record_id, count in ids.items() if count > 1]:
        problem = f"record id {repeated[0]} occurs twice ({len(repeated)} such ids)"
        raise InputError(f"{problem}; make record ids unique")
    first_of_patient: dict[str, Recording] = {}
    for recording in recordings:
        first = first_of_patient.setdefault(recording.source_patient_id, recording)
        if first.split != recording.split:
            problem = f"recording {recording.record_id} is in {recording.split}"
            problem += f", its patient's recording {first.record_id} in {first.split}"
            raise InputError(f"{problem}; give all recordings of a patient the same split")
    by_split = {split: [r for r in recordings if r.split == split] for split in SPLITS}
    return [recording for in_split in by_split.values() for recording in in_split[:limit]]


def divide(
    recordings: Sequence[Recording], size: int, about: str, folders: tuple[Path, Path]
) -> list[Plan]:
    """Returns the plans of all shards, split by split.

    Args:
      recordings: the recordings to convert.
      size: recordings in a shard.
      about: data set, version, settings and source.
      folders: folder of the unfinished shards, and of their journals.
    """
    parts, journals = folders
    plans = []
    for split in SPLITS:
        in_split = [recording for recording in recordings if recording.split == split]
        for start in range(0, len(in_split), size):
            path = parts / f"{split}-{start}.part"
            journal = journals / f"{split}-{start}.json"
            plans.append(Plan(path, journal, about, split, in_split[start : start + size]))
    return plans


def check_space(plans: Sequence[Plan], samples: int, folder: Path) -> None:
    """Raises an InputError if the absent shards do not fit on the disk.

    Args:
      plans: all shards.
      samples: samples of a stored recording.
      folder: the folder of the data set.
    """
    recordings = sum(len(plan.recordings) for plan in plans if not plan.path.exists())
    needed_mb = recordings * samples * len(LEADS) * 2 / 1e6  # 2 bytes: int16
    free_mb = shutil.disk_usage(folder).free / 1e6
    if needed_mb > free_mb:
        problem = f"{folder}: needs {needed_mb:,.0f} MB, {free_mb:,.0f} MB are free"
        raise InputError(f"{problem}; choose another folder for the output, or --limit")
