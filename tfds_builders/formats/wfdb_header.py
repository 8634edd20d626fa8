"""Headers of single-segment WFDB records, parsed strictly.

https://physionet.org/physiotools/wag/header-5.htm
"""

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
"""Largest number of samples of all signals together, 40 minutes of 12 leads at 1000 Hz: a worker of
the conversion must hold them in memory."""
MAX_BYTES = 1 << 20
"""Largest size of a header."""
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
    r"(\S+)\s+(\S+)(?:\s+(\S+)(?:\s+\d+(?:\s+([+-]?\d{1,10})(?:\s+([+-]?\d{1,11})"
    r"(?:\s+([+-]?\d{1,10})(?:\s+\d+(?:\s+(.*))?)?)?)?)?)?)?",
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
    """Number of bytes before the first sample."""
    uv_per_lsb: float
    baseline: int
    """Sample value at 0 V."""
    initial: int | None
    """Value of the first sample, if given."""
    checksum: int | None
    """Sum of the samples modulo 65536, if given."""
    name: str


@dataclasses.dataclass
class Header:
    """The content of a header file."""

    path: Path
    rate_hz: float
    samples: int
    """Number of samples of each signal."""
    signal_lines: list[str]
    base: str
    """Time and date of the first sample as in the record line. Do not trust them: they are often
    those of a conversion."""
    comments: list[str]
    """The text of the lines that begin with #."""

    @functools.cached_property
    def signals(self) -> list[Signal]:
        """The parsed signal lines. Parsed on first use, since listing records needs no signals.

        Raises:
          RecordingError: a line is not WFDB, or uses an unsupported feature.
        """
        return [_signal_line(line, self.path) for line in self.signal_lines]


def read(path: Path) -> Header:
    """Reads a header file.

    Raises:
      RecordingError: the file is absent or is no header, or its numbers are out of range.
    """
    lines = [line.strip() for line in _text(path).splitlines()]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise RecordingError("header", f"{path}: empty header; replace the file")
    rate_hz, samples, signals, base = _record_line(lines[0], path)
    if len(lines) != 1 + signals:
        problem = f"{path}: promises {signals} signals, describes {len(lines) - 1}"
        raise RecordingError("header", f"{problem}; replace the file")
    return Header(path, rate_hz, samples, lines[1:], base, comments)


def fields(comments: list[str]) -> dict[str, str]:
    """Returns the values of comments "Name: value" by name, in lower case.

    If a name occurs twice, its first value is returned.
    """
    pairs = (comment.partition(":") for comment in reversed(comments))
    return {name.strip().casefold(): value.strip() for name, colon, value in pairs if colon}


def require_plain(path: Path) -> None:
    """Checks that a path, if it exists, is a regular file in its folder.

    Raises:
      RecordingError: it is something else, such as a pipe, which would block the reader, or a link
        to a file in another folder. An absent file passes: opening it will raise an error.
    """
    try:
        mode = os.lstat(path).st_mode
        leaves_folder = False
        if stat.S_ISLNK(mode):
            leaves_folder = path.resolve().parent != path.parent.resolve()
            mode = path.stat().st_mode
    except (OSError, RuntimeError):  # absent, or a link to itself
        return
    if leaves_folder:
        problem = f"{path}: a link that leaves its folder"
        raise RecordingError("file_name", f"{problem}; put the file there")
    if not stat.S_ISREG(mode):
        raise RecordingError("file_name", f"{path}: no plain file; put one there")


def _text(path: Path) -> str:
    require_plain(path)
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"{path}: {error.strerror}"
        raise RecordingError("missing_file", f"{problem}; is the source complete?") from error
    if len(data) > MAX_BYTES:
        problem = f"{path}: over {MAX_BYTES} bytes, not a WFDB header"
        raise RecordingError("header", f"{problem}; replace the file")
    return data.decode("utf-8", "replace")


def _record_line(line: str, path: Path) -> tuple[float, int, int, str]:
    """Parses (rate in Hz, samples per signal, number of signals, base time and date)."""
    match = _RECORD.fullmatch(line)
    if not match:
        problem = f"{path}: record line {line[:80]!r} is not WFDB"
        raise RecordingError("header", f"{problem}; replace the file")
    if match["segments"]:
        problem = f"{path}: a record of several segments"
        raise RecordingError("format", f"{problem}; give single-segment records")
    rate_hz = _number(match["rate"], f"{path}: sampling rate")
    if rate_hz <= 0:
        problem = f"{path}: sampling rate {rate_hz:g} Hz"
        raise RecordingError("header", f"{problem}; give a positive rate")
    signals = int(match["signals"])
    if not 1 <= signals <= MAX_SIGNALS:
        problem = f"{path}: {signals} signals"
        raise RecordingError("header", f"{problem}; give between 1 and {MAX_SIGNALS}")
    samples = int(match["samples"] or 0)
    if not 1 <= samples <= MAX_VALUES // signals:
        problem = f"{path}: {samples} samples of {signals} signals"
        remedy = f"give between 1 and {MAX_VALUES // signals}, in several records"
        raise RecordingError("header", f"{problem}; {remedy}")
    return rate_hz, samples, signals, match["base"] or ""


def _signal_line(line: str, path: Path) -> Signal:
    match = _SIGNAL.fullmatch(line)
    if not match:
        problem = f"{path}: signal line {line[:80]!r} is not WFDB"
        raise RecordingError("header", f"{problem}; replace the file")
    file, signal_format, gain, adc_zero, initial, checksum, name = match.groups()
    try:
        number, offset = _format(signal_format)
        uv_per_lsb, baseline = _gain(gain)
    except RecordingError as error:
        raise RecordingError(error.reason, f"{path}: {error}") from None
    return Signal(
        file=file,
        format=number,
        offset=offset,
        uv_per_lsb=uv_per_lsb,
        baseline=int(adc_zero or 0) if baseline is None else baseline,
        initial=None if initial is None else int(initial),
        checksum=None if checksum is None else int(checksum),
        name=name or "",
    )


# The next two parsers take most of the time. They are cached, since signal lines repeat.
@functools.lru_cache(maxsize=256)
def _format(text: str) -> tuple[int, int]:
    """Parses (format, number of bytes before the first sample)."""
    match = _FORMAT.fullmatch(text)
    if not match:
        raise RecordingError("header", f"signal format {text[:40]!r} is not WFDB; replace the file")
    if int(match["per_frame"] or 1) != 1:
        problem = f"signal format {text}: {match['per_frame']} samples per frame"
        raise RecordingError("format", f"{problem}; convert the record to one sample per frame")
    if int(match["skew"] or 0) != 0:
        problem = f"signal format {text}: a skew of {match['skew']} frames"
        raise RecordingError("format", f"{problem}; convert the record to signals without skew")
    return int(match["format"]), int(match["offset"] or 0)


@functools.lru_cache(maxsize=256)
def _gain(text: str | None) -> tuple[float, int | None]:
    """Parses (uV per LSB, baseline if given)."""
    remedy = "give the gain in ADC units per mV"
    match = _GAIN.fullmatch(text or "")
    if not match:
        raise RecordingError("header", f"gain {text!r} (uncalibrated); {remedy}")
    gain = _number(match["gain"], "gain")
    if gain == 0:
        raise RecordingError("header", f"gain 0 (uncalibrated); {remedy}")
    units = match["units"] or "mV"
    if units not in UV_PER_UNIT:
        problem = f"units {units[:40]!r}"
        raise RecordingError("units", f"{problem}; give signals in {', '.join(UV_PER_UNIT)}")
    return UV_PER_UNIT[units] / gain, None if match["baseline"] is None else int(match["baseline"])


def _number(text: str | None, name: str) -> float:
    # The pattern excludes texts such as "1_000", which float() accepts.
    value = float(text) if text and _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise RecordingError("header", f"{name} {text!r}; give a finite number")
    return value
