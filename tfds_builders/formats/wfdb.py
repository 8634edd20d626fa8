"""A strict reader of single-segment WFDB records: it checks the files against their header.

The tests, and `prepare --verify`, compare it with the reader of the package wfdb, which takes 15 ms
per record and accepts files that should be rejected.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfds_builders.formats import wfdb_header, wfdb_signals
from tfds_builders.formats.wfdb_header import Header, Signal
from tfds_builders.recording import leads, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

INVALID = -32768
"""Value of a missing sample in checksums and initial values of headers written by the C library."""
FOLDED = 64
"""Number of rows that `_sums` folds into one."""


def read_record(record: Path) -> tuple[np.ndarray, float]:
    """Reads the twelve leads of a record.

    Args:
      record: path of the record without extension; record.hea is its header.

    Returns:
      int16 [time, 12] at 1 uV per LSB in the order of LEADS, MISSING for an invalid sample of WFDB;
      and the sampling rate in Hz. Samples stored at 1 uV per LSB with baseline 0 are copied bit for
      bit; others are scaled in float64 and rounded. Absent III, aVR, aVL and aVF are calculated.

    Raises:
      RecordingError: a file violates the format or contradicts the header.
    """
    path = _header_path(record)
    header = wfdb_header.read(path)
    columns = leads.find([signal.name for signal in header.signals], path)
    wanted = [header.signals[column] for column in columns.values()]
    # Signals other than the twelve leads may be in files of their own, which are not opened.
    stored: dict[int, np.ndarray] = {}
    for file in dict.fromkeys(signal.file for signal in wanted):
        in_file = [column for column, signal in enumerate(header.signals) if signal.file == file]
        values = _read_file(path, header.samples, [header.signals[column] for column in in_file])
        if in_file == list(columns.values()) and _has_stored_form(wanted):
            return values, header.rate_hz
        stored |= zip(in_file, values.T, strict=True)
    value_uv = {
        lead: _to_uv(header.signals[column], stored[column]) for lead, column in columns.items()
    }
    return leads.complete(value_uv, path), header.rate_hz


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
    try:
        header = wfdb_header.read(_header_path(folder / record))
    except RecordingError:
        return [dataclasses.replace(describe(None), location=(record, 0))]
    recording = dataclasses.replace(describe(header), location=record)
    return windows.divide(recording, samples=header.samples, from_hz=header.rate_hz, config=config)


def read_window(folder: Path, recording: Recording, config: RecordingsConfig) -> np.ndarray:
    """Reads a window that `find_windows` returned, as int16 [config.samples, 12]."""
    record, index = recording.location
    path = folder / record
    return windows.cut(_read_resampled(path, config.rate_hz), index, config, path)


@functools.lru_cache(maxsize=1)
def _read_resampled(record: Path, rate_hz: float) -> np.ndarray:
    """Reads a record at another rate, as read-only int16 [time, 12].

    The last one is cached, since the windows of a record are read one after another.
    """
    signal, from_hz = read_record(record)
    signal = windows.resample(signal, from_hz=from_hz, to_hz=rate_hz, origin=record)
    signal.flags.writeable = False
    return signal


def _header_path(record: Path) -> Path:
    return record.with_name(record.name + ".hea")  # not with_suffix: a record may be named a.b


def _read_file(header: Path, samples: int, signals: list[Signal]) -> np.ndarray:
    """Reads and checks one signal file, as [time, signal]."""
    first = signals[0]
    for signal in signals:
        if signal.format not in wfdb_signals.FORMATS:
            problem = f"{header}: signal format {signal.format} is not supported"
            raise RecordingError("format", f"{problem}; convert the record to format 16")
    if len({(signal.format, signal.offset) for signal in signals}) > 1:
        problem = f"{header}: signals of {first.file} differ in format or offset"
        raise RecordingError("header", f"{problem}; replace the file")
    values = wfdb_signals.read(
        _signal_path(header, first.file),
        first.format,
        offset=first.offset,
        samples=samples,
        signals=len(signals),
    )
    _check(header, signals, values)
    return values


def _signal_path(header: Path, file: str) -> Path:
    """Returns the path of a signal file, which must be in the header's folder."""
    if "\0" in file or "/" in file or "\\" in file or file in (".", ".."):
        problem = f"{header}: signal file {file!r} is no plain file name"
        raise RecordingError("file_name", f"{problem}; rename it")
    path = header.parent / file
    wfdb_header.require_plain(path)
    return path


def _check(header: Path, signals: list[Signal], stored: np.ndarray) -> None:
    """Compares samples [time, signal] with the checksums and initial values in their header."""
    # Some publishers (PTB Diagnostic) write 0 for all of them: there is nothing to compare.
    if not any(signal.checksum or signal.initial for signal in signals):
        return
    for signal, total, values in zip(signals, _sums(stored).tolist(), stored.T, strict=True):
        missing = wfdb_signals.FORMATS[signal.format].missing
        if signal.checksum is not None and (total - signal.checksum) % 65536:
            # The Python package sums a missing sample as stored, the C library as INVALID.
            total += int((values == missing).sum()) * (INVALID - missing)
            if (total - signal.checksum) % 65536:
                problem = f"signal {signal.name} sums to {total % 65536}"
                problem += f", its checksum is {signal.checksum % 65536}"
                remedy = "the samples are damaged, fetch the file again"
                raise RecordingError("checksum", f"{header}: {problem}; {remedy}")
        first = values[0].item()
        if signal.initial not in (None, first) and (first, signal.initial) != (missing, INVALID):
            problem = f"signal {signal.name} starts with {first}, the header says {signal.initial}"
            raise RecordingError("initial_value", f"{header}: {problem}; fetch the record again")


def _sums(stored: np.ndarray) -> np.ndarray:
    """Returns the sum of each column modulo 65536.

    NumPy sums faster along long rows, so FOLDED rows are first treated as one.
    """
    samples, signals = stored.shape
    whole = samples - samples % FOLDED
    folded = stored[:whole].reshape(-1, FOLDED * signals).sum(axis=0, dtype=np.int16)
    rest = stored[whole:].sum(axis=0, dtype=np.int16)
    return folded.reshape(FOLDED, signals).sum(axis=0) + rest


def _has_stored_form(signals: list[Signal]) -> bool:
    """Tells whether the samples of these signals can be copied unchanged."""
    return len(signals) == 12 and all(
        signal.uv_per_lsb == 1 and signal.baseline == 0 and signal.format == 16
        for signal in signals
    )


def _to_uv(signal: Signal, stored: np.ndarray) -> np.ndarray:
    """Returns microvolts, float64 [time], NaN for a missing sample."""
    value_uv = stored.astype(np.float64)
    value_uv -= signal.baseline
    value_uv *= signal.uv_per_lsb
    value_uv[stored == wfdb_signals.FORMATS[signal.format].missing] = np.nan
    return value_uv
