"""Headers of WFDB records, parsed strictly where their content is used.

https://physionet.org/physiotools/wag/header-5.htm
"""

import dataclasses
import functools
import re
from pathlib import Path
from typing import NamedTuple

from tfds_builders.formats import wfdb_signal_line
from tfds_builders.formats.source_folder import locate
from tfds_builders.formats.wfdb_signal_line import Signal
from tfds_builders.recording.quality import RecordingError

DEFAULT_HZ = 250.0
"""Sampling rate of a header without one (WFDB's DEFFREQ)."""
MAX_SIGNALS = 512
MAX_VALUES = 30_000_000
"""Largest number of samples of all signals together, 40 minutes of 12 leads at 1000 Hz: a worker of
the conversion must hold them in memory."""
MAX_BYTES = 1 << 20
"""Largest size of a header."""

_COMMENT = re.compile(r"\s+#(?!\d+$).*")  # but ECG #1 is a name
_RECORD = re.compile(
    r"(?P<name>[^\s/]+)(/(?P<segments>\d{1,6}))?\s+(?P<signals>\d{1,9})(\s+(?P<rate>[^\s/(]+)\S*"
    r"(\s+(?P<samples>\d{1,18})(?!\S))?(\s+(?P<base>.*[:/].*))?)?",
    re.ASCII,
)
_SEGMENT = re.compile(r"(?P<name>\S+)\s+(?P<samples>\d{1,18})", re.ASCII)


class Segment(NamedTuple):
    """A line of a header that divides its record into segments."""

    name: str
    """Name of the segment's own record, or GAP."""
    samples: int
    """Number of samples per signal; 0 for a layout segment, which only names the signals."""


GAP = "~"
"""Name of a segment without samples."""


@dataclasses.dataclass
class Header:
    """The content of a header file."""

    path: Path
    rate_hz: float
    """Frames per second, which are samples per second unless a signal has several in each."""
    samples: int
    """Number of frames; 0 if the header does not say it."""
    signal_lines: list[str]
    base: str
    """Time and date of the first sample as in the record line. Do not trust them: they are often
    those of a conversion."""
    comments: list[str]
    """The text of the lines that begin with #."""
    segments: list[Segment] = dataclasses.field(default_factory=list)
    """The parts of the record, if it is divided."""

    @functools.cached_property
    def signals(self) -> list[Signal]:
        """The parsed signal lines. Parsed on first use, since listing records needs no signals."""
        return [wfdb_signal_line.parse(line, self.path) for line in self.signal_lines]


def read(path: Path, source: Path | None = None, *, default_hz: float = DEFAULT_HZ) -> Header:
    """Reads a header file.

    Args:
      path: the file; the case of its name does not matter.
      source: folder that links may not leave; its own folder if None.
      default_hz: the sampling rate if the header has none, in Hz.

    Raises:
      RecordingError: the file is absent or is no header, or its numbers are out of range.
    """
    path = locate(path, source)
    lines = [line.strip() for line in _text(path).splitlines()]
    comments = [line[1:].strip() for line in lines if line.startswith("#")]
    lines = _content(lines)
    if not lines:
        raise RecordingError("header", f"{path}: empty header; replace the file")
    record = _record_line(lines[0], path, default_hz)
    parts = "segments" if record.segments is not None else "signals"
    count = record.signals if record.segments is None else record.segments
    if len(lines) != 1 + count:
        problem = f"{path}: promises {count} {parts}, describes {len(lines) - 1}"
        raise RecordingError("header", f"{problem}; replace the file")
    header = Header(path, record.rate_hz, record.samples, lines[1:], record.base, comments)
    return header if record.segments is None else _divided(header, record.signals)


def segment_names(path: Path, source: Path | None = None) -> list[str]:
    """Returns the names of a record's segments, even if its header has errors."""
    words = _first_words(path, source)
    return words[1:] if words and "/" in words[0] else []


def signal_files(path: Path, source: Path | None = None) -> set[str]:
    """Returns the names of a record's signal files, even if its header has errors."""
    words = _first_words(path, source)
    return set(words[1:]) if words and "/" not in words[0] else set()


def _first_words(path: Path, source: Path | None) -> list[str]:
    """Returns the first word of each line that is no comment; none of an unreadable header."""
    try:
        text = _text(locate(path, source))
    except RecordingError:
        return []
    return [line.split()[0] for line in _content([line.strip() for line in text.splitlines()])]


def fields(comments: list[str]) -> dict[str, str]:
    """Returns the values of comments "Name: value" by name, in lower case.

    If a name occurs twice, its first value is returned.
    """
    pairs = (comment.partition(":") for comment in reversed(comments))
    return {name.strip().casefold(): value.strip() for name, colon, value in pairs if colon}


def require_name(name: str, header: Path) -> None:
    """Checks that a header names a file of its own folder.

    Raises:
      RecordingError: the name is a path.
    """
    if "\0" in name or "/" in name or "\\" in name or name in (".", ".."):
        problem = f"{header}: file {name!r} is no plain file name"
        raise RecordingError("file_name", f"{problem}; rename it")


def _text(path: Path) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"{path}: {error.strerror}"
        raise RecordingError("missing_file", f"{problem}; is the source complete?") from error
    if len(data) > MAX_BYTES:
        problem = f"{path}: over {MAX_BYTES} bytes, not a WFDB header"
        raise RecordingError("header", f"{problem}; replace the file")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _content(lines: list[str]) -> list[str]:
    """Returns the lines that are no comments, without comments at their ends."""
    lines = [line for line in lines if line and not line.startswith("#")]
    return [_COMMENT.sub("", line) if "#" in line else line for line in lines]


class _RecordLine(NamedTuple):
    rate_hz: float
    samples: int
    signals: int
    base: str
    segments: int | None


def _record_line(line: str, path: Path, default_hz: float) -> _RecordLine:
    match = _RECORD.fullmatch(line)
    if not match:
        problem = f"{path}: record line {line[:80]!r} is not WFDB"
        raise RecordingError("header", f"{problem}; replace the file")
    rate_hz = (
        wfdb_signal_line.number(match["rate"], f"{path}: sampling rate")
        if match["rate"]
        else default_hz
    )
    if rate_hz <= 0:
        problem = f"{path}: sampling rate {rate_hz:g} Hz"
        raise RecordingError("header", f"{problem}; give a positive rate")
    signals = int(match["signals"])
    if not 1 <= signals <= MAX_SIGNALS:
        problem = f"{path}: {signals} signals"
        raise RecordingError("header", f"{problem}; give between 1 and {MAX_SIGNALS}")
    samples = int(match["samples"] or 0)
    if samples > MAX_VALUES // signals and not match["segments"]:
        problem = f"{path}: {samples} samples of {signals} signals"
        remedy = f"give at most {MAX_VALUES // signals}, in several records"
        raise RecordingError("header", f"{problem}; {remedy}")
    segments = None if match["segments"] is None else int(match["segments"])
    return _RecordLine(rate_hz, samples, signals, match["base"] or "", segments)


def _divided(header: Header, signals: int) -> Header:
    """Returns the header of a record in segments, whose lines are not signals."""
    matches = [_SEGMENT.fullmatch(line) for line in header.signal_lines]
    segments = [Segment(match["name"], int(match["samples"])) for match in matches if match]
    total = sum(segment.samples for segment in segments)
    empty = [segment.name for segment in segments[1:] if not segment.samples]
    if len(segments) < len(matches) or empty or not total:
        problem = f"{header.path}: a line of a segment has no name or no number of samples"
        raise RecordingError("header", f"{problem}; replace the file")
    if header.samples not in (0, total):
        problem = f"{header.path}: segments of {total} samples together, the record has"
        raise RecordingError("header", f"{problem} {header.samples}; replace the file")
    if total > MAX_VALUES // signals:
        problem = f"{header.path}: {total} samples of {signals} signals"
        remedy = f"divide it into records of at most {MAX_VALUES // signals} samples, or remove"
        remedy += " this header to have each segment as a recording"
        raise RecordingError("length", f"{problem}; {remedy}")
    return dataclasses.replace(header, samples=total, signal_lines=[], segments=segments)
