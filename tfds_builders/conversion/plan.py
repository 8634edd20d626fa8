"""A shard that is to be written, and what became of its recordings."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfds_builders.conversion.report import Rejection
from tfds_builders.recording.recording import Recording


@dataclasses.dataclass(frozen=True)
class Plan:
    """A shard to write."""

    path: Path
    journal: Path
    """Where is written what became of it."""
    about: str
    """Data set, version, settings and source; a shard made under others is not this one."""
    split: str
    recordings: Sequence[Recording]


@dataclasses.dataclass(frozen=True)
class Kept:
    """A recording that was written."""

    recording: Recording
    quality: list[str]
    waveform_hash: str
    """First 32 hex digits of the SHA-256 of the int16 samples."""
    small: np.ndarray | None = None
    """The recording as report.html draws it, if it has flags: int16 [POINTS, 12]."""

    @property
    def kind(self) -> str:
        """By which it is chosen to be drawn: its first flag, whatever the lead."""
        return self.quality[0].split(":")[0] if self.quality else ""


@dataclasses.dataclass(frozen=True)
class Shard:
    """What became of the recordings of a shard, each list in the order of the plan."""

    path: Path
    split: str
    kept: list[Kept]
    rejections: list[Rejection]
