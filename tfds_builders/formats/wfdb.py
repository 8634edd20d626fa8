"""A strict reader of WFDB records, which checks the files against their header.

The tests, and `prepare --verify`, compare it with the reader of the package wfdb, which takes 15 ms
per record and accepts files that should be rejected.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tfds_builders.formats import wfdb_header, wfdb_record, wfdb_segments
from tfds_builders.formats.wfdb_header import Header
from tfds_builders.formats.wfdb_record import Correction, Request
from tfds_builders.recording import leads, windows
from tfds_builders.recording.leads import LeadRule, StoredSignal
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

ENDING = ".hea"
"""Ending of a header in lower case; its case does not matter."""


class Extent(NamedTuple):
    """The part of a record's header that its windows follow from."""

    samples: int = 0
    """Number of samples of each lead; 0 if the record cannot be read."""
    rate_hz: float = 0
    """Sampling rate of the leads."""
    segments: tuple[str, ...] = ()
    """Names of the segments that the record is divided into; they are no records of their own."""


def read_record(
    record: Path,
    rule: LeadRule = leads.TWELVE,
    correct: Correction | None = None,
    source: Path | None = None,
) -> tuple[StoredSignal, float]:
    """Reads the leads of a record. One that is divided into segments is read as a whole.

    Args:
      record: path of the record without extension, or of its header.
      rule: the leads that the data set holds.
      correct: applied to each signal line; the flag `corrected` tells that it changed one.
      source: folder that links may not leave; the record's own folder if None.

    Returns:
      The stored form, with MISSING for an invalid sample of WFDB; and the sampling rate in Hz.
      Samples stored at 1 uV per LSB with baseline 0 are copied bit for bit; others are scaled in
      float64 and rounded. Absent limb leads are calculated if two are known.

    Raises:
      RecordingError: a file violates the format or contradicts the header.
    """
    request = Request(rule, correct, source)
    header = wfdb_header.read(_header_path(record), source)
    return (wfdb_segments if header.segments else wfdb_record).read(header, request)


def read_extent(folder: Path, record: str, config: RecordingsConfig) -> Extent:
    """Returns length and rate of a record, or those of an unreadable one, which have length 0."""
    path = _header_path(folder / record)
    try:
        return _extent(wfdb_header.read(path, folder), folder, config)
    except RecordingError:
        return Extent(segments=tuple(wfdb_header.segment_names(path, folder)))


def find_windows(
    folder: Path,
    record: str,
    describe: Callable[[Header | None], Recording],
    config: RecordingsConfig,
) -> list[Recording]:
    """Returns the windows of a record, for which it reads the header only.

    Args:
      folder: folder of the raw files.
      record: path of the record in the folder, without extension.
      describe: returns the metadata of the record from its header; any location is replaced. The
        header is None if it cannot be read; the record is then rejected in `read_window`.
      config: sampling rate and length of a window.
    """
    header = None
    found = Extent()
    try:
        header = wfdb_header.read(_header_path(folder / record), folder)
        found = _extent(header, folder, config)
    except RecordingError:
        pass  # rejected when it is read
    recording = dataclasses.replace(describe(header), location=record)
    return divide(recording, found, config)


def divide(recording: Recording, found: Extent, config: RecordingsConfig) -> list[Recording]:
    """Returns the windows of a record, whose location is (record, window), from its extent."""
    return windows.divide(recording, samples=found.samples, from_hz=found.rate_hz, config=config)


def read_window(
    folder: Path,
    recording: Recording,
    config: RecordingsConfig,
    correct: Correction | None = None,
) -> dict[str, Any]:
    """Reads a window that `find_windows` returned, as the example of `windows.convert`."""
    record, index = recording.location
    path = folder / record
    request = Request(config.lead_rule, correct, folder)
    stored = _read_resampled(path, config.rate_hz, request)
    return {"signal": windows.cut(stored.signal, index, config, path), "flags": stored.flags}


def _header_path(record: Path) -> Path:
    """Returns the path of a record's header, which may be given itself."""
    if record.name.casefold().endswith(ENDING) and record.is_file():
        return record
    return record.with_name(record.name + ENDING)  # not with_suffix: a record may be named a.b


def _extent(header: Header, folder: Path, config: RecordingsConfig) -> Extent:
    request = Request(config.lead_rule, source=folder)
    reader = wfdb_segments if header.segments else wfdb_record
    samples, rate_hz = reader.extent(header, request)
    return Extent(samples, rate_hz, tuple(segment.name for segment in header.segments))


@functools.lru_cache(maxsize=1)
def _read_resampled(record: Path, rate_hz: float, request: Request) -> StoredSignal:
    """Reads a record at another rate; its samples are read-only.

    The last one is cached, since the windows of a record are read one after another.
    """
    stored, from_hz = read_record(record, *request)
    stored = windows.to_rate(stored, from_hz=from_hz, to_hz=rate_hz, origin=record)
    stored.signal.flags.writeable = False
    return stored
