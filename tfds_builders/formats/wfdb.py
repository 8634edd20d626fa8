"""A strict reader for WFDB records of one segment, which verifies all that the header promises.

wfdb's own reader is the oracle of the tests; it takes 15 ms a record and forgives what should stop a conversion.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfds_builders.formats import wfdb_header, wfdb_signals
from tfds_builders.formats.wfdb_header import Header, Signal
from tfds_builders.recording import leads, windows
from tfds_builders.recording.quality import RecordingError

if TYPE_CHECKING:
    from tfds_builders.recording.recording import Recording, RecordingsConfig

INVALID = -32768
"""What stands for a missing sample in sums, and as a first sample, in headers written by the C library."""
FOLDED = 64
"""So many rows of samples are taken for one in sums."""


def read_record(record: Path) -> tuple[np.ndarray, float]:
    """Reads the twelve leads of a record.

    Args:
      record: path of the record without extension; record.hea is its header.

    Returns:
      int16 [time, 12] at 1 uV per LSB in the order of LEADS, MISSING where WFDB's invalid sample is; and the
      rate in Hz. Samples stored at 1 uV per LSB with baseline 0 pass bit for bit; others are scaled in
      float64 and rounded. III, aVR, aVL and aVF are calculated where they are absent.

    Raises:
      RecordingError: anything is not as the format, or the header, says.
    """
    path = _header_path(record)
    header = wfdb_header.read(path)
    columns = leads.find([signal.name for signal in header.signals], path)
    wanted = [header.signals[column] for column in columns.values()]
    # Signals that are not among the twelve may be in files of their own, which are not opened.
    stored: dict[int, np.ndarray] = {}
    for file in dict.fromkeys(signal.file for signal in wanted):
        inside = [column for column, signal in enumerate(header.signals) if signal.file == file]
        values = _read_file(path, header.samples, [header.signals[column] for column in inside])
        if inside == list(columns.values()) and _is_stored_form(wanted):
            return values, header.rate_hz
        stored |= zip(inside, values.T, strict=True)
    in_uv = {
        lead: _to_uv(header.signals[column], stored[column]) for lead, column in columns.items()
    }
    return leads.complete(in_uv, path), header.rate_hz


def find_windows(
    folder: Path,
    record: str,
    describe: Callable[[Header | None], "Recording"],
    config: "RecordingsConfig",
) -> list["Recording"]:
    """The windows of a record, known from its header.

    Args:
      folder: what `record` is relative to.
      record: path of a record without extension.
      describe: gives the recording, but for its location, from its header: None where that cannot be read, and the
        recording will be rejected for it by `read_window`.
      config: the rate and the length of a window.
    """
    try:
        header = wfdb_header.read(_header_path(folder / record))
    except RecordingError:
        return [dataclasses.replace(describe(None), location=(record, 0))]
    recording = dataclasses.replace(describe(header), location=record)
    return windows.each(recording, samples=header.samples, from_hz=header.rate_hz, config=config)


def read_window(folder: Path, recording: "Recording", config: "RecordingsConfig") -> np.ndarray:
    """int16 [config.samples, 12]: the window of a record that `find_windows` gave."""
    record, index = recording.location
    path = folder / record
    return windows.cut(_read_resampled(path, config.rate_hz), index, config, path)


@functools.lru_cache(maxsize=1)
def _read_resampled(record: Path, rate_hz: float) -> np.ndarray:
    """int16 [time, 12] of a record as by `read_record`, resampled; not to be changed.

    The last one is kept, since the windows of a record are read one after another.
    """
    signal, from_hz = read_record(record)
    signal = windows.resample(signal, from_hz=from_hz, to_hz=rate_hz, where=record)
    signal.flags.writeable = False
    return signal


def _header_path(record: Path) -> Path:
    return record.with_name(record.name + ".hea")  # not with_suffix: a record may be called a.b


def _read_file(header: Path, samples: int, inside: list[Signal]) -> np.ndarray:
    """Verified samples [time, signal] of the signals in one file."""
    first = inside[0]
    if unknown := [signal.format for signal in inside if signal.format not in wfdb_signals.FORMATS]:
        problem = f"{header}: signal format {unknown[0]} is not supported"
        raise RecordingError("format", f"{problem}; convert the record to format 16")
    if len({(signal.format, signal.offset) for signal in inside}) > 1:
        problem = f"{header}: signals of {first.file} differ in format or offset"
        raise RecordingError("header", f"{problem}; replace the file")
    path = _within(header, first.file)
    values = wfdb_signals.read(
        path, first.format, offset=first.offset, samples=samples, signals=len(inside)
    )
    _verify(header, inside, values)
    return values


def _within(header: Path, file: str) -> Path:
    """The path of a signal file, which may not leave the header's folder by its name or by a link."""
    path = header.parent / file
    if "\0" in file or "/" in file or "\\" in file or file in (".", ".."):
        raise RecordingError(
            "file_name", f"{header}: signal file {file!r} is no plain file name; rename it"
        )
    wfdb_header.require_plain(path)
    return path


def _verify(header: Path, signals: list[Signal], stored: np.ndarray) -> None:
    # Some publishers (PTB Diagnostic) write 0 for all first samples and checksums: nothing to verify.
    if not any(signal.checksum or signal.initial for signal in signals):
        return
    sums = _sums(stored)
    for column, (signal, total, first) in enumerate(
        zip(signals, sums.tolist(), stored[0].tolist(), strict=True)
    ):
        missing = wfdb_signals.FORMATS[signal.format].missing
        if signal.checksum is not None and (total - signal.checksum) % 65536:
            # wfdb for Python sums a missing sample as it is stored, the C library as INVALID.
            total += int((stored[:, column] == missing).sum()) * (INVALID - missing)
            if (total - signal.checksum) % 65536:
                problem = f"signal {signal.name} sums to {total % 65536}, its checksum is {signal.checksum % 65536}"
                remedy = "the samples are damaged, fetch the file again"
                raise RecordingError("checksum", f"{header}: {problem}; {remedy}")
        if signal.initial not in (None, first) and (first, signal.initial) != (missing, INVALID):
            problem = f"signal {signal.name} starts with {first}, the header says {signal.initial}"
            raise RecordingError("initial_value", f"{header}: {problem}; fetch the record again")


def _sums(stored: np.ndarray) -> np.ndarray:
    """Sum of each column modulo 65536, in numpy's fast way: over rows that are long, here samples of many instants."""
    samples, signals = stored.shape
    rest = samples % FOLDED
    folded = stored[: samples - rest].reshape(-1, FOLDED * signals).sum(axis=0, dtype=np.int16)
    return folded.reshape(FOLDED, signals).sum(axis=0) + stored[samples - rest :].sum(
        axis=0, dtype=np.int16
    )


def _is_stored_form(wanted: list[Signal]) -> bool:
    exact = all(
        signal.uv_per_lsb == 1 and signal.baseline == 0 and signal.format == 16 for signal in wanted
    )
    return exact and len(wanted) == 12


def _to_uv(signal: Signal, stored: np.ndarray) -> np.ndarray:
    """float64 [time], NaN where a sample is missing."""
    value_uv = stored.astype(np.float64)
    value_uv -= signal.baseline
    value_uv *= signal.uv_per_lsb
    value_uv[stored == wfdb_signals.FORMATS[signal.format].missing] = np.nan
    return value_uv
