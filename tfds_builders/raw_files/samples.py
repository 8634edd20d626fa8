"""Samples of recordings and the facts that identify them, in chunks that fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Samples(NamedTuple):
    """The outcome of recordings that were read."""

    signals: np.ndarray
    """Those accepted: int16 [accepted, time, 12], 1 uV per LSB, MISSING for a missing sample."""
    valid_samples: np.ndarray
    """Samples of each accepted recording without padding, int32 [accepted]."""
    flags: Sequence[Sequence[str]]
    """Quality flags of each accepted recording."""
    rejections: Sequence[tuple[str, str] | None]
    """(reason, message) of each recording that is rejected; None: it is accepted."""


class Facts(NamedTuple):
    """Facts that identify a recording."""

    source: str
    """Folder of the file."""
    file: str | None
    """Path in the folder; a WFDB record has no ending."""
    recording: str | None
    """Name or number in the file, if it holds several recordings."""
    window: int | None
    """Number of the window, from 1, if the recording is longer than one."""
    record_id: str | None
    """The id that `prepare` gives; None for own files without the key."""
    patient_id: str | None
    """Hash of the patient; None likewise."""


class Chunk(NamedTuple):
    """Recordings that are read and held at a time."""

    facts: list[Facts]
    rate_hz: float
    read: Callable[[], Samples]
    """Reads the samples; if they are read in processes, picklable without patients' ids."""


Block = tuple[int, int]
"""(number from 0, count): one of several equal parts of the recordings."""


class Unit(NamedTuple):
    """Recordings that are finished together: a part of the work that is not done twice."""

    count: int
    """Recordings, or files as long as their recordings are not known."""
    digest: str
    """Hash of everything that its outcome depends on but the options."""
    chunks: Callable[[], Iterator[Chunk]]
    in_processes: bool
    """Worth reading in several processes."""
