"""A strict reader for WFDB records of one segment in format 16, which verifies all that the header promises.

The format: https://physionet.org/physiotools/wag/header-5.htm and signal-5.htm. wfdb's own reader is the
oracle of the tests; it takes 15 ms a record and forgives what should stop a conversion.
"""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np

from ecgjax.signals import LEADS, MISSING, InputError, lead_indices
from tfds_builders.quality import RecordingError

MAX_SIGNALS = 64
MAX_SAMPLES = 100_000_000
"""More than a day at 1000 Hz: a header that says more is damaged."""
MAX_HEADER_BYTES = 1 << 20
UV_PER_UNIT = {"mV": 1e3, "mv": 1e3, "uV": 1.0, "µV": 1.0, "μV": 1.0, "V": 1e6}

_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?P<segments>/\S+)?\s+(?P<signals>\d{1,9})"
    r"(\s+(?P<rate>[^\s/(]+)\S*(\s+(?P<samples>\d{1,18})(\s.*)?)?)?"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,4})"
    r"(x(?P<per_frame>\d{1,4}))?(:(?P<skew>\d{1,9}))?(\+(?P<offset>\d{1,9}))?"
    r"(\s+(?P<gain>[^\s(/]+)(\((?P<baseline>[+-]?\d{1,10})\))?(/(?P<units>\S+))?"
    r"(\s+\d+(\s+(?P<zero>[+-]?\d{1,10})(\s+(?P<initial>[+-]?\d{1,10})(\s+(?P<checksum>[+-]?\d{1,10})"
    r"(\s+\d+(\s+(?P<description>.*))?)?)?)?)?)?)?"
)


@dataclasses.dataclass(frozen=True)
class Signal:
    """A signal line of a header."""

    file: str
    offset: int
    """Bytes before the first sample."""
    uv_per_lsb: float
    baseline: int
    """Sample value at 0 V."""
    initial: int | None
    checksum: int | None
    """Sum of the samples modulo 65536."""
    name: str


def read_record(record: Path) -> tuple[np.ndarray, float]:
    """Reads the twelve leads of a record.

    Args:
      record: path of the record without extension; record.hea is its header.

    Returns:
      int16 [time, 12] at 1 uV per LSB in the order of LEADS, MISSING where WFDB's invalid sample is; and the
      rate in Hz. Samples stored at 1 uV per LSB with baseline 0 pass bit for bit; others are scaled in
      float64 and rounded.

    Raises:
      RecordingError: anything is not as the format, or the header, says.
    """
    header = record.with_name(record.name + ".hea")
    rate_hz, samples, signals = read_header(header)
    try:
        leads = [signals[index] for index in lead_indices([signal.name for signal in signals], str(header))]
    except InputError as error:
        raise RecordingError("leads", str(error)) from error
    # Signals that are not among the twelve may be in files of their own, which are not opened.
    stored: dict[Signal, np.ndarray] = {}
    for file in dict.fromkeys(lead.file for lead in leads):
        inside = [signal for signal in signals if signal.file == file]
        values = _read_samples(_within(header, file), samples, inside)
        _verify(header, inside, values)
        stored |= zip(inside, values.T, strict=True)
    return _to_uv(header, leads, np.stack([stored[lead] for lead in leads], axis=1)), rate_hz


def read_header(path: Path) -> tuple[float, int, list[Signal]]:
    """(rate in Hz, samples, signals) of a header file."""
    lines = _header_lines(path)
    found = _RECORD.fullmatch(lines[0])
    if not found:
        raise RecordingError("header", f"{path}: record line {lines[0][:80]!r} is not WFDB; replace the file")
    if found["segments"]:
        raise RecordingError("format", f"{path}: a record of several segments; give single-segment records")
    count, samples = int(found["signals"]), int(found["samples"] or 0)
    rate_hz = _number(found["rate"], "sampling rate", path)
    if rate_hz <= 0:
        raise RecordingError("header", f"{path}: sampling rate {rate_hz:g} Hz; give a positive rate")
    if not 1 <= samples <= MAX_SAMPLES:
        raise RecordingError("header", f"{path}: {samples} samples; give between 1 and {MAX_SAMPLES}")
    if not 1 <= count <= MAX_SIGNALS:
        raise RecordingError("header", f"{path}: {count} signals; give between 1 and {MAX_SIGNALS}")
    if len(lines) != 1 + count:
        problem = f"{path}: promises {count} signals, describes {len(lines) - 1}"
        raise RecordingError("header", f"{problem}; replace the file")
    return rate_hz, samples, [_read_signal(line, path) for line in lines[1:]]


def _header_lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise RecordingError("missing_file", f"{path}: {error.strerror}; is the source complete?") from error
    if len(data) > MAX_HEADER_BYTES:
        raise RecordingError("header", f"{path}: over {MAX_HEADER_BYTES} bytes, not a WFDB header")
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordingError("header", f"{path}: empty header; replace the file")
    return lines


def _read_signal(line: str, path: Path) -> Signal:
    found = _SIGNAL.fullmatch(line)
    if not found:
        raise RecordingError("header", f"{path}: signal line {line[:80]!r} is not WFDB; replace the file")
    if found["format"] != "16" or int(found["per_frame"] or 1) != 1 or int(found["skew"] or 0) != 0:
        problem = f"{path}: signal format {line.split()[1]} is not supported"
        raise RecordingError("format", f"{problem}; convert the record to format 16")
    gain = _number(found["gain"], "gain", path)
    if gain == 0:
        raise RecordingError("header", f"{path}: gain 0 (uncalibrated); give the gain in ADC units per mV")
    units = found["units"] or "mV"
    if units not in UV_PER_UNIT:
        raise RecordingError("units", f"{path}: units {units!r}; give signals in {', '.join(UV_PER_UNIT)}")
    return Signal(
        file=found["file"],
        offset=int(found["offset"] or 0),
        uv_per_lsb=UV_PER_UNIT[units] / gain,
        baseline=int(found["baseline"] or found["zero"] or 0),
        initial=None if found["initial"] is None else int(found["initial"]),
        checksum=None if found["checksum"] is None else int(found["checksum"]),
        name=found["description"] or "",
    )


def _number(text: str | None, what: str, path: Path) -> float:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordingError("header", f"{path}: {what} {text!r}; give a finite number")
    return value


def _within(header: Path, file: str) -> Path:
    """The path of a signal file, which may not leave the header's folder by its name or by a link."""
    path = header.parent / file
    if "\0" in file or "/" in file or "\\" in file or file in (".", ".."):
        raise RecordingError("file_name", f"{header}: signal file {file!r} is no plain file name; rename it")
    if path.is_symlink() and path.resolve().parent != header.parent.resolve():
        raise RecordingError("file_name", f"{path}: a link that leaves its folder; put the file there")
    return path


def _read_samples(path: Path, samples: int, signals: list[Signal]) -> np.ndarray:
    """int16 [samples, signals] of a file in format 16: little-endian, frame after frame of its signals."""
    offset = signals[0].offset
    expected = offset + 2 * samples * len(signals)
    try:
        size = path.stat().st_size
        if size != expected:
            layout = f"{samples} samples of {len(signals)} signals"
            problem = f"{path}: {size} bytes, but {expected} by its header ({layout})"
            raise RecordingError("length", f"{problem}; fetch the file again")
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError("missing_file", f"{path}: {error.strerror}; is the source complete?") from error
    return np.frombuffer(data, "<i2", offset=offset).reshape(samples, len(signals))


def _verify(header: Path, signals: list[Signal], stored: np.ndarray) -> None:
    # Some publishers (PTB Diagnostic) write 0 for all first samples and checksums: nothing to verify.
    if not any(signal.checksum or signal.initial for signal in signals):
        return
    sums = stored.sum(axis=0, dtype=np.int64)
    for signal, total, first in zip(signals, sums.tolist(), stored[0].tolist(), strict=True):
        where = f"{header}: signal {signal.name}"
        if signal.checksum is not None and (total - signal.checksum) % 65536:
            problem = f"{where} sums to {total % 65536}, its checksum is {signal.checksum % 65536}"
            raise RecordingError("checksum", f"{problem}; the samples are damaged, fetch the file again")
        if signal.initial is not None and first != signal.initial:
            problem = f"{where} starts with {first}, the header says {signal.initial}"
            raise RecordingError("initial_value", f"{problem}; fetch the record again")


def _to_uv(header: Path, leads: list[Signal], stored: np.ndarray) -> np.ndarray:
    if all(lead.uv_per_lsb == 1 and lead.baseline == 0 for lead in leads):
        return stored
    scale = np.array([lead.uv_per_lsb for lead in leads])
    value_uv = np.rint((stored - np.array([lead.baseline for lead in leads], np.float64)) * scale)
    missing = stored == MISSING
    beyond = (np.abs(value_uv) > np.iinfo(np.int16).max) & ~missing
    if beyond.any():
        lead = int(np.flatnonzero(beyond.any(axis=0))[0])
        problem = f"{header}: lead {LEADS[lead]} reaches {np.abs(value_uv[:, lead]).max():.0f} uV, over 32767 uV"
        raise RecordingError("range", f"{problem}; check its gain and units")
    return np.where(missing, MISSING, value_uv).astype(np.int16)
