"""Text files as a grid of cells: encoding, compression, comments and delimiters."""

import csv
import gzip
import itertools
import re
import zlib
from pathlib import Path
from typing import NamedTuple

from tfds_builders.recording.quality import RecordingError

MOST_BYTES = 1 << 28
"""Largest size of an unpacked file: 40 minutes of twelve leads at 1000 Hz have less."""
DELIMITERS = ("\t", ";", ",", "|", " ")
"""A space stands for any number of spaces and tabs. Of two that fit equally well, the first one is
taken."""
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_COMMENT = re.compile(r"\s*(?:[#%]|//)+\s*")


class Line(NamedTuple):
    """A line of a file that is not empty."""

    number: int
    """Counted from 1, as editors do."""
    text: str
    """The line without the marks of a comment."""
    is_comment: bool


class Row(NamedTuple):
    """The cells of a line."""

    number: int
    cells: tuple[str, ...]
    is_comment: bool = False


def read_lines(path: Path) -> list[Line]:
    """Returns the lines of a text file, which gzip may have compressed.

    The encoding is UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    Raises:
      RecordingError: it is absent, too large, or no text.
    """
    data = _read(path)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "")
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise RecordingError("format", f"{path}: no text; write it as text, or leave it out")
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _COMMENT.match(line) if line.lstrip()[:1] in ("#", "%", "/") else None
        content = line[mark.end() :] if mark else line
        if content.strip():
            lines.append(Line(number, content, mark is not None))
    return lines


def split(line: Line, delimiter: str) -> Row:
    """Divides a line into its cells, without the spaces and quotes around them."""
    text = line.text
    if delimiter == " ":
        text = " ".join(text.split())
    if '"' in text:
        cells = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
    else:
        cells = text.split(delimiter)
    if "'" in text or '"' in text:
        cells = [cell.strip(" \t'\"") for cell in cells]
    return Row(line.number, tuple(map(str.strip, cells)), line.is_comment)


def transpose(rows: list[Row]) -> list[Row]:
    """Returns the columns as rows, numbered from 1; rows that are too short get empty cells."""
    columns = itertools.zip_longest(*(row.cells for row in rows), fillvalue="")
    return [Row(number, cells) for number, cells in enumerate(columns, start=1)]


def require_cells(rows: list[Row], count: int, path: Path) -> None:
    """Checks that each row has `count` cells.

    Raises:
      RecordingError: a row has another number.
    """
    for row in rows:
        if len(row.cells) != count:
            problem = f"{path}: line {row.number} has {len(row.cells)} cells instead of {count}"
            raise RecordingError("shape", f"{problem}; correct the line, or write the file again")


def _read(path: Path) -> bytes:
    is_packed = path.suffix.casefold() == ".gz"
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        problem = f"{path}: no such file"
        raise RecordingError("missing_file", f"{problem}; is the source complete?") from error
    except (OSError, EOFError, zlib.error) as error:
        problem = f"{path}: cannot be read ({' '.join(str(error).split())[:100]})"
        raise RecordingError("format", f"{problem}; write it again") from error
    if len(data) > MOST_BYTES:
        problem = f"{path}: over {MOST_BYTES} bytes of text"
        raise RecordingError("length", f"{problem}; divide it, or write npy files")
    return data
