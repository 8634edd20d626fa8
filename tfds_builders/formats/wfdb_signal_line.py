"""Signal lines of WFDB headers: file, format, gain, units, checksum and name of a signal.

https://physionet.org/physiotools/wag/header-5.htm
"""

import functools
import math
import re
from pathlib import Path
from typing import NamedTuple

from ecgjax.signals import UV_PER_UNIT, unit_name
from tfds_builders.recording.quality import RecordingError

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
_NAME_FIELD = 8
"""Number of fields before the name in a signal line."""

Problem = tuple[str, str]
"""(reason, message) of a RecordingError."""


class Format(NamedTuple):
    """The second field of a signal line."""

    number: int
    per_frame: int = 1
    """Samples of the signal in each frame: its rate is that many times the header's."""
    skew: int = 0
    """Number of frames by which the signal is stored late."""
    offset: int = 0
    """Number of bytes before the first sample of the file."""


class Signal(NamedTuple):
    """A signal line of a header."""

    file: str
    format: Format
    uv_per_lsb: float
    baseline: int
    """Sample value at 0 V."""
    initial: int | None
    """Value of the first sample, if given."""
    checksum: int | None
    """Sum of the samples modulo 65536, if given."""
    name: str
    problem: Problem | None = None
    """Why the signal cannot be used as an ECG. It does not matter where the signal is not used."""


def parse(line: str, path: Path) -> Signal:
    """Parses a signal line; what makes the signal unusable becomes its problem.

    Args:
      line: the line, without spaces at its ends and comments.
      path: the header, for the problem's message.
    """
    match = _SIGNAL.fullmatch(line)
    if not match:
        fields = line.split(maxsplit=_NAME_FIELD)
        problem = ("header", f"{path}: signal line {line[:80]!r} is not WFDB; replace the file")
        name = fields[_NAME_FIELD] if len(fields) > _NAME_FIELD else ""
        form, _ = _format("".join(fields[1:2]))
        return Signal(fields[0], form, math.nan, 0, None, None, name, problem)
    file, signal_format, gain, adc_zero, initial, checksum, name = match.groups()
    form, bad_format = _format(signal_format)
    uv_per_lsb, baseline, bad_gain = _gain(gain)
    problem = bad_format or bad_gain
    return Signal(
        file=file,
        format=form,
        uv_per_lsb=uv_per_lsb,
        baseline=int(adc_zero or 0) if baseline is None else baseline,
        initial=None if initial is None else int(initial),
        checksum=None if checksum is None else int(checksum),
        name=name or "",
        problem=problem and (problem[0], f"{path}: signal {name}: {problem[1]}"),
    )


# The next two parsers take most of the time. They are cached, since signal lines repeat.
@functools.lru_cache(maxsize=256)
def _format(text: str) -> tuple[Format, Problem | None]:
    """Parses the format; one that is not WFDB has number 0, which WFDB defines as no file."""
    match = _FORMAT.fullmatch(text)
    if not match:
        problem = f"format {text[:40]!r} is not WFDB; replace the file"
        return Format(0), ("header", problem)
    per_frame = int(match["per_frame"] or 1)
    numbers = (int(match["format"]), max(1, per_frame), int(match["skew"] or 0))
    return Format(*numbers, int(match["offset"] or 0)), None


@functools.lru_cache(maxsize=256)
def _gain(text: str | None) -> tuple[float, int | None, Problem | None]:
    """Parses (uV per LSB, baseline if given, problem)."""
    remedy = "give the gain in ADC units per mV"
    match = _GAIN.fullmatch(text or "0")
    try:
        gain = number(match and match["gain"], "gain")
    except RecordingError as error:
        return math.nan, None, (error.reason, f"{error}")
    assert match
    baseline = None if match["baseline"] is None else int(match["baseline"])
    if gain == 0:
        return math.nan, baseline, ("units", f"gain 0 (uncalibrated); {remedy}")
    unit = unit_name(match["units"] or "mV")
    if unit is None:
        problem = f"units {match['units'][:40]!r}; give signals in {', '.join(UV_PER_UNIT)}"
        return math.nan, baseline, ("units", problem)
    return UV_PER_UNIT[unit] / gain, baseline, None


def number(text: str | None, name: str) -> float:
    """Parses a finite number.

    Raises:
      RecordingError: the text is none; the message begins with `name`.
    """
    # The pattern excludes texts such as "1_000", which float() accepts.
    value = float(text) if text and _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise RecordingError("header", f"{name} {text!r}; give a finite number")
    return value
