"""The header of a WFDB record: https://physionet.org/physiotools/wag/header-5.htm, read strictly."""

import dataclasses
import functools
import math
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from tfds_builders.recording.quality import RecordingError

MAX_SIGNALS = 64
MAX_VALUES = 30_000_000
"""Samples of all signals together, 40 minutes of 12 leads at 1000 Hz: a converter's worker must hold them."""
MAX_BYTES = 1 << 20
UV_PER_UNIT = {
    "V": 1e6,
    "mV": 1e3,
    "mv": 1e3,
    "uV": 1.0,
    "uv": 1.0,
    "µV": 1.0,
    "μV": 1.0,
    "nV": 1e-3,
}

_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(?P<segments>/\S+)?\s+(?P<signals>\d{1,9})"
    r"(\s+(?P<rate>[^\s/(]+)\S*(\s+(?P<samples>\d{1,18})(\s+(?P<base>.*))?)?)?",
    re.ASCII,
)
_SIGNAL = re.compile(
    r"(\S+)\s+(\S+)(?:\s+(\S+)(?:\s+\d+(?:\s+([+-]?\d{1,10})(?:\s+([+-]?\d{1,11})(?:\s+([+-]?\d{1,10})"
    r"(?:\s+\d+(?:\s+(.*))?)?)?)?)?)?)?",
    re.ASCII,
)
_FORMAT = re.compile(
    r"(?P<format>\d{1,4})(x(?P<per_frame>\d{1,4}))?(:(?P<skew>\d{1,9}))?(\+(?P<offset>\d{1,9}))?",
    re.ASCII,
)
_GAIN = re.compile(
    r"(?P<gain>[^\s(/]+)(\((?P<baseline>[+-]?\d{1,10})\))?(/(?P<units>\S+))?", re.ASCII
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Signal(NamedTuple):
    """A signal line of a header."""

    file: str
    format: int
    offset: int
    """Bytes before the first sample."""
    uv_per_lsb: float
    baseline: int
    """Sample value at 0 V."""
    initial: int | None
    """The first sample."""
    checksum: int | None
    """Sum of the samples modulo 65536."""
    name: str


@dataclasses.dataclass
class Header:
    """What a header says."""

    path: Path
    rate_hz: float
    samples: int
    """Of each signal."""
    signal_lines: list[str]
    base: str
    """Time and date of the first sample as the record line has them; not to be trusted, often that of a conversion."""
    comments: list[str]
    """The lines after a #, without it."""

    @functools.cached_property
    def signals(self) -> list[Signal]:
        """Parsed when asked for: who looks for recordings needs the record line only.

        Raises:
          RecordingError: a line is not WFDB, or uses what is not supported.
        """
        return [_signal_line(line, self.path) for line in self.signal_lines]


def read(path: Path) -> Header:
    """Reads a header file.

    Raises:
      RecordingError: it is absent or is not a header, or its numbers are absurd.
    """
    lines = [line.strip() for line in _text(path).splitlines()]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordingError("header", f"{path}: empty header; replace the file")
    rate_hz, samples, count, base = _record_line(lines[0], path)
    if len(lines) != 1 + count:
        problem = f"{path}: promises {count} signals, describes {len(lines) - 1}"
        raise RecordingError("header", f"{problem}; replace the file")
    return Header(path, rate_hz, samples, lines[1:], base, comments)


def fields(comments: list[str]) -> dict[str, str]:
    """Comments of the form "Name: value", names in lower case; of a name that occurs twice, the first."""
    pairs = (comment.partition(":") for comment in reversed(comments))
    return {name.strip().casefold(): value.strip() for name, colon, value in pairs if colon}


def require_plain(path: Path) -> None:
    """Refuses what is no file, such as a pipe that would be waited for, and a link to a file in another folder.

    Raises:
      RecordingError: it is one of these. A file that is absent passes; opening it will tell.
    """
    try:
        mode = os.lstat(path).st_mode
        leaves = False
        if stat.S_ISLNK(mode):
            leaves = path.resolve().parent != path.parent.resolve()
            mode = path.stat().st_mode
    except (OSError, RuntimeError):  # absent, or a link to itself
        return
    if leaves:
        raise RecordingError(
            "file_name", f"{path}: a link that leaves its folder; put the file there"
        )
    if not stat.S_ISREG(mode):
        raise RecordingError("file_name", f"{path}: no plain file; put one there")


def _text(path: Path) -> str:
    require_plain(path)
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecordingError(
            "missing_file", f"{path}: {error.strerror}; is the source complete?"
        ) from error
    if len(data) > MAX_BYTES:
        raise RecordingError(
            "header", f"{path}: over {MAX_BYTES} bytes, not a WFDB header; replace the file"
        )
    return data.decode("utf-8", "replace")


def _record_line(line: str, path: Path) -> tuple[float, int, int, str]:
    """(rate in Hz, samples, number of signals, base time and date)."""
    found = _RECORD.fullmatch(line)
    if not found:
        raise RecordingError(
            "header", f"{path}: record line {line[:80]!r} is not WFDB; replace the file"
        )
    if found["segments"]:
        raise RecordingError(
            "format", f"{path}: a record of several segments; give single-segment records"
        )
    count, samples = int(found["signals"]), int(found["samples"] or 0)
    rate_hz = _number(found["rate"], "sampling rate", path)
    if rate_hz <= 0:
        raise RecordingError(
            "header", f"{path}: sampling rate {rate_hz:g} Hz; give a positive rate"
        )
    if not 1 <= count <= MAX_SIGNALS:
        raise RecordingError("header", f"{path}: {count} signals; give between 1 and {MAX_SIGNALS}")
    if not 1 <= samples <= MAX_VALUES // count:
        problem = f"{path}: {samples} samples of {count} signals"
        raise RecordingError(
            "header", f"{problem}; give between 1 and {MAX_VALUES // count}, in several records"
        )
    return rate_hz, samples, count, found["base"] or ""


def _signal_line(line: str, path: Path) -> Signal:
    found = _SIGNAL.fullmatch(line)
    if not found:
        raise RecordingError(
            "header", f"{path}: signal line {line[:80]!r} is not WFDB; replace the file"
        )
    file, form, gain, zero, initial, checksum, name = found.groups()
    try:
        number, offset = _format(form)
        uv_per_lsb, baseline = _gain(gain)
    except RecordingError as error:
        raise RecordingError(error.reason, f"{path}: {error}") from None
    return Signal(
        file=file,
        format=number,
        offset=offset,
        uv_per_lsb=uv_per_lsb,
        baseline=int(zero or 0) if baseline is None else baseline,
        initial=None if initial is None else int(initial),
        checksum=None if checksum is None else int(checksum),
        name=name or "",
    )


# Cached, since the signals of all records of a source are written alike, and parsing is what takes the time.
@functools.lru_cache(maxsize=256)
def _format(text: str) -> tuple[int, int]:
    """(format, bytes before the first sample)."""
    found = _FORMAT.fullmatch(text)
    if not found:
        raise RecordingError("header", f"signal format {text[:40]!r} is not WFDB; replace the file")
    if int(found["per_frame"] or 1) != 1:
        problem = f"signal format {text}: {found['per_frame']} samples per frame"
        raise RecordingError("format", f"{problem}; convert the record to one sample per frame")
    if int(found["skew"] or 0) != 0:
        problem = f"signal format {text}: a skew of {found['skew']} frames"
        raise RecordingError("format", f"{problem}; convert the record to signals without skew")
    return int(found["format"]), int(found["offset"] or 0)


@functools.lru_cache(maxsize=256)
def _gain(text: str | None) -> tuple[float, int | None]:
    """(uV per LSB, baseline if given)."""
    found = _GAIN.fullmatch(text or "")
    if not found:
        raise RecordingError(
            "header", f"gain {text!r} (uncalibrated); give the gain in ADC units per mV"
        )
    gain = _number(found["gain"], "gain")
    if gain == 0:
        raise RecordingError("header", "gain 0 (uncalibrated); give the gain in ADC units per mV")
    units = found["units"] or "mV"
    if units not in UV_PER_UNIT:
        raise RecordingError(
            "units", f"units {units[:40]!r}; give signals in {', '.join(UV_PER_UNIT)}"
        )
    return UV_PER_UNIT[units] / gain, None if found["baseline"] is None else int(found["baseline"])


def _number(text: str | None, what: str, path: Path | None = None) -> float:
    # Not whatever float() takes, such as "1_000".
    value = float(text) if text and _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        where = f"{path}: " if path else ""
        raise RecordingError("header", f"{where}{what} {text!r}; give a finite number")
    return value
