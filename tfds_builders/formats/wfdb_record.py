"""A strict reader of WFDB records without segments: it checks the files against their header.

The signals that a data set needs must be right. The others are not looked at, in whatever unit,
rate or format they are.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjax.signals import LEADS, limb_weights
from tfds_builders.formats import wfdb_header, wfdb_signals
from tfds_builders.formats.source_folder import locate
from tfds_builders.formats.wfdb_header import MAX_VALUES, Header
from tfds_builders.formats.wfdb_signal_line import Signal
from tfds_builders.recording import leads
from tfds_builders.recording.leads import LeadRule, StoredSignal
from tfds_builders.recording.quality import RecordingError

INVALID = -32768
"""Value of a missing sample in checksums and initial values of headers written by the C library."""
FOLDED = 64
"""Number of rows that `_sums` folds into one."""
Correction = Callable[[Signal], Signal]
"""Returns a signal line with the known errors of its publisher corrected."""


class Request(NamedTuple):
    """The leads to read from a record, and how."""

    rule: LeadRule = leads.TWELVE
    """The leads that the data set holds."""
    correct: Correction | None = None
    """Applied to each signal line; the flag `corrected` tells that it changed one."""
    source: Path | None = None
    """Folder that links may not leave; the record's own folder if None."""


def read(header: Header, request: Request) -> tuple[StoredSignal, float]:
    """Reads the leads of a record, see `wfdb.read_record`, which has the header already."""
    columns = _needed(header, request.rule)
    frames, per_frame = _extent(header, columns, request)
    published = {lead: header.signals[column] for lead, column in columns.items()}
    signals = published
    if request.correct:
        signals = {lead: request.correct(signal) for lead, signal in published.items()}
    is_changed = signals is not published and signals != published
    stored: dict[int, np.ndarray] = {}
    in_order = [*columns.values()]
    for file in dict.fromkeys(signal.file for signal in signals.values()):
        in_file = [column for column, signal in enumerate(header.signals) if signal.file == file]
        is_whole = in_file == in_order
        needed = in_file if is_whole else [column for column in in_file if column in in_order]
        values = _read_file(header, frames, in_file, needed, request)
        if (
            is_whole
            and not is_changed
            and request.rule.kept == LEADS
            and _has_stored_form([*signals.values()])
        ):
            return StoredSignal(values), header.rate_hz
        stored |= _by_signal(header, in_file, needed, values)
    value_uv = {lead: _to_uv(signals[lead], stored[column]) for lead, column in columns.items()}
    complete = leads.complete(value_uv, header.path, request.rule)
    flags = (*complete.flags, "corrected") if is_changed else complete.flags
    return complete._replace(flags=flags), header.rate_hz * per_frame


def extent(header: Header, request: Request) -> tuple[int, float]:
    """Returns the samples of each lead and their rate in Hz, without reading any.

    Raises:
      RecordingError: a needed lead is absent, unusable, or its file is absent.
    """
    if header.samples and not any("x" in line for line in header.signal_lines):
        return header.samples, header.rate_hz  # nearly always
    frames, per_frame = _extent(header, _needed(header, request.rule), request)
    return frames * per_frame, header.rate_hz * per_frame


def _needed(header: Header, rule: LeadRule) -> dict[str, int]:
    """Returns the signals that are needed by their leads, in the order of LEADS."""
    columns = leads.find([signal.name for signal in header.signals], header.path, rule)
    if rule.kept != LEADS:
        weights = limb_weights(tuple(columns))
        pairs = [weights.get(lead, ()) for lead in rule.kept if lead not in columns]
        needed = {*rule.kept, *(known for known, _ in itertools.chain(*pairs))}
        columns = {lead: column for lead, column in columns.items() if lead in needed}
    for column in columns.values():
        signal = header.signals[column]
        if signal.problem:
            raise RecordingError(*signal.problem)
        if signal.format.number not in wfdb_signals.FORMATS:
            problem = f"{header.path}: signal format {signal.format.number} is not supported"
            raise RecordingError("format", f"{problem}; convert the record to format 16")
    return columns


def _extent(header: Header, columns: dict[str, int], request: Request) -> tuple[int, int]:
    """Returns (frames, samples of each lead in a frame)."""
    signals = [header.signals[column] for column in columns.values()]
    per_frame = {signal.format.per_frame for signal in signals}
    if len(per_frame) > 1:
        problem = f"{header.path}: leads of {' and '.join(map(str, sorted(per_frame)))} samples"
        raise RecordingError(
            "format", f"{problem} per frame; convert the record to one rate for all leads"
        )
    frames = header.samples
    if not frames:
        first = signals[0]
        in_file = [signal for signal in header.signals if signal.file == first.file]
        frames = wfdb_signals.count_frames(
            _signal_path(header, first.file, request.source),
            first.format.number,
            offset=first.format.offset,
            columns=sum(signal.format.per_frame for signal in in_file),
        )
    return frames, per_frame.pop()


def _read_file(
    header: Header, frames: int, in_file: list[int], needed: list[int], request: Request
) -> np.ndarray:
    """Reads one signal file [frames, samples of all its signals] and checks the needed signals."""
    first = header.signals[needed[0]]
    layouts = [header.signals[column].format for column in in_file]
    offsets = {header.signals[column].format.offset for column in needed}
    if len({layout.number for layout in layouts}) > 1 or len(offsets) > 1:
        problem = f"{header.path}: signals of {first.file} differ in format or offset"
        raise RecordingError("header", f"{problem}; replace the file")
    columns = sum(layout.per_frame for layout in layouts)
    if frames * columns > MAX_VALUES:
        problem = f"{header.path}: {frames} frames of {columns} samples"
        raise RecordingError("length", f"{problem}; give at most {MAX_VALUES} in a record")
    if wfdb_signals.FORMATS[first.format.number].decode is None and columns > len(layouts):
        problem = f"{header.path}: several samples per frame in FLAC"
        raise RecordingError("format", f"{problem}; convert the record to format 16")
    values = wfdb_signals.read(
        _signal_path(header, first.file, request.source),
        first.format.number,
        offset=first.format.offset,
        frames=frames,
        columns=columns,
    )
    _check(header, in_file, needed, values)
    return values


def _signal_path(header: Header, file: str, source: Path | None) -> Path:
    """Returns the path of a signal file, which must be in the header's folder."""
    wfdb_header.require_name(file, header.path)
    return locate(header.path.with_name(file), source)


def _by_signal(
    header: Header, in_file: list[int], needed: list[int], values: np.ndarray
) -> dict[int, np.ndarray]:
    """Returns the samples [time] of the needed signals, without their skew."""
    if values.shape[1] == len(in_file):
        stored = dict(zip(in_file, values.T, strict=True))
    else:
        counts = [header.signals[column].format.per_frame for column in in_file]
        parts = np.split(values, np.cumsum(counts)[:-1], axis=1)
        stored = {column: part.ravel() for column, part in zip(in_file, parts, strict=True)}
    return {column: _without_skew(header.signals[column], stored[column]) for column in needed}


def _without_skew(signal: Signal, stored: np.ndarray) -> np.ndarray:
    late = signal.format.skew * signal.format.per_frame
    if not late:
        return stored
    shifted = np.full_like(stored, wfdb_signals.FORMATS[signal.format.number].missing)
    shifted[: max(0, len(stored) - late)] = stored[late:]
    return shifted


def _check(
    header: Header, in_file: Sequence[int], needed: Sequence[int], stored: np.ndarray
) -> None:
    """Compares samples [frames, samples of all signals] with checksums and initial values."""
    # Some publishers (PTB Diagnostic) write 0 for all of them: there is nothing to compare.
    signals = [header.signals[column] for column in in_file]
    if not any(signal.checksum or signal.initial for signal in signals):
        return
    totals = _sums(stored).tolist()
    firsts = stored[0].tolist()
    position = 0
    for column, signal in zip(in_file, signals, strict=True):
        start = position
        position += signal.format.per_frame
        total = totals[start] if position == start + 1 else sum(totals[start:position])
        is_right = signal.checksum is None or not (total - signal.checksum) % 65536
        # Nearly all records pass this, so the rest may take its time.
        if column in needed and not (is_right and signal.initial in (None, firsts[start])):
            _check_signal(header.path, signal, total, stored[:, start:position])


def _check_signal(path: Path, signal: Signal, total: int, values: np.ndarray) -> None:
    """Checks one signal [frames, samples per frame], whose samples sum to `total`."""
    missing = wfdb_signals.FORMATS[signal.format.number].missing
    if signal.checksum is not None and (total - signal.checksum) % 65536:
        # The Python package sums a missing sample as stored, the C library as INVALID.
        total += int((values == missing).sum()) * (INVALID - missing)
        if (total - signal.checksum) % 65536:
            problem = f"signal {signal.name} sums to {total % 65536}"
            problem += f", its checksum is {signal.checksum % 65536}"
            remedy = "the samples are damaged, fetch the file again"
            raise RecordingError("checksum", f"{path}: {problem}; {remedy}")
    first = values[0, 0].item()
    later = values[signal.format.skew % len(values), 0].item()
    accepted = (None, first, later, INVALID if missing in (first, later) else None)
    if signal.initial not in accepted:
        problem = f"signal {signal.name} starts with {first}, the header says {signal.initial}"
        raise RecordingError("initial_value", f"{path}: {problem}; fetch the record again")


def _sums(stored: np.ndarray) -> np.ndarray:
    """Returns the sum of each column modulo 65536.

    NumPy sums faster along long rows, so FOLDED rows are first treated as one.
    """
    samples, signals = stored.shape
    whole = samples - samples % FOLDED
    folded = stored[:whole].reshape(-1, FOLDED * signals).sum(axis=0, dtype=np.int16)
    rest = stored[whole:].sum(axis=0, dtype=np.int16)
    return folded.reshape(FOLDED, signals).sum(axis=0) + rest


def _has_stored_form(signals: Sequence[Signal]) -> bool:
    """Tells whether the samples of these signals can be copied unchanged."""
    return len(signals) == len(LEADS) and all(
        signal.uv_per_lsb == 1 and signal.baseline == 0 and signal.format[:3] == (16, 1, 0)
        for signal in signals
    )


def _to_uv(signal: Signal, stored: np.ndarray) -> np.ndarray:
    """Returns microvolts, float64 [time], NaN for a missing sample."""
    value_uv = stored.astype(np.float64)
    value_uv -= signal.baseline
    value_uv *= signal.uv_per_lsb
    value_uv[stored == wfdb_signals.FORMATS[signal.format.number].missing] = np.nan
    return value_uv
