"""CSV tables: their encoding and delimiter are detected, their cells are read strictly.

A cell of a publisher's table that cannot be parsed stops the conversion: a table with one wrong
cell may have others.
"""

import codecs
import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ecgjax.errors import InputError
from tfds_builders.recording import demographics

DELIMITERS = ",;\t|"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encoding by the first bytes; those of UTF-32 begin like those of UTF-16."""
SEPARATOR_LINE = "sep="
"""First line that Excel writes and reads to name the delimiter."""
Row = dict[str, str]
Parser = Callable[[str], Any]
"""Converts the text of a cell; raises an exception such as ValueError if the text is invalid."""


class Sheet(NamedTuple):
    """The text of a table."""

    header: list[str]
    """Names of the columns in one line each, without blanks around them."""
    rows: list[tuple[int, list[str]]]
    """(number, cells) of each row that is not empty, one cell for each column. The header is row 1,
    as in a spreadsheet."""
    encoding: str
    delimiter: str
    empty_rows: int
    short_rows: int
    """Number of rows with fewer cells than the header; the absent ones are empty."""


def read_sheet(path: Path, is_known: Callable[[str], bool], remedy: str) -> Sheet:
    """Reads a table: delimiter , ; tab or |, encoding UTF-8, UTF-16 with a mark, or cp1252.

    Args:
      path: the file.
      is_known: tells whether the name of a column is one that is looked for. The delimiter is the
        one that gives the most of them.
      remedy: end of an error message, such as "replace the file by PhysioNet's".

    Raises:
      InputError: the file is absent, or is no table. The message does not quote it.
    """
    text, encoding = _decode(path, remedy)
    first = 1
    delimiters = DELIMITERS
    if text[:4].casefold() == SEPARATOR_LINE:
        line, _, text = text.partition("\n")
        first = 2
        delimiters = line[4:].strip("\r") or "\t"
    delimiter = max(delimiters, key=lambda one: _score(text, one, is_known))
    lines = _lines(path, text, delimiter, first, remedy)
    header = [_one_line(name) for name in next(lines, (first, []))[1]]
    rows = []
    empty_rows = 0
    short_rows = 0
    for number, cells in lines:
        if not any(cell.strip() for cell in cells):
            empty_rows += 1
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            problem = f"{path}: row {number} has more cells than the header"
            remedy = f"put cells that hold the delimiter in quotes, and the header in row {first}"
            raise InputError(f"{problem}; {remedy}")
        short_rows += len(cells) < len(header)
        absent = [""] * (len(header) - len(cells))
        rows.append((number, [*cells[: len(header)], *absent]))
    return Sheet(header, rows, encoding, delimiter, empty_rows, short_rows)


def _decode(path: Path, remedy: str) -> tuple[str, str]:
    """Returns the text of a file and its encoding."""
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"{path}: {error.strerror}"
        raise InputError(f"{problem}; give the folder that holds it as --source") from error
    marked = (name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark))
    encoding = next(marked, "utf-8")
    try:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            if encoding != "utf-8":
                raise
            encoding = "cp1252"
            text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8 or cp1252; {remedy}") from error
    if "\0" in text:
        raise InputError(f"{path}: has NUL characters; save it as CSV in UTF-8")
    return text, encoding.removesuffix("-sig")


def _score(text: str, delimiter: str, is_known: Callable[[str], bool]) -> tuple[int, int]:
    try:
        header = next(_reader(text, delimiter), [])
    except csv.Error:
        return 0, 0
    return sum(is_known(_one_line(name)) for name in header), len(header)


def _one_line(name: str) -> str:
    return "".join(filter(str.isprintable, " ".join(name.split())))


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    # strict: otherwise a quote without its counterpart swallows rows.
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)


def _lines(
    path: Path, text: str, delimiter: str, first: int, remedy: str
) -> Iterator[tuple[int, list[str]]]:
    number = first
    try:
        for number, cells in enumerate(_reader(text, delimiter), start=first):
            yield number, cells
    except csv.Error as error:
        raise InputError(f"{path}: after row {number}: {error}; {remedy}") from error


def read(path: Path, columns: Collection[str], remedy: str) -> list[Row]:
    """Returns the rows of a CSV file as text.

    Args:
      path: the file.
      columns: names of the columns that must exist; there may be others.
      remedy: end of an error message, as in `read_sheet`.

    Raises:
      InputError: the file is absent, is no CSV table, or lacks a column.
    """
    sheet = read_sheet(path, lambda name: name in columns, remedy)
    if absent := [column for column in columns if column not in sheet.header]:
        raise InputError(f"{path}: lacks column {', '.join(absent)}; {remedy}")
    return [dict(zip(sheet.header, cells, strict=True)) for _, cells in sheet.rows]


def read_cells(path: Path, parsers: Mapping[str, Parser], remedy: str) -> Iterator[dict[str, Any]]:
    """Yields the parsed cells of each row of a CSV file.

    Args:
      path: the file.
      parsers: the parser of each column to read. An error message identifies a row by its cell in
        the first of these columns.
      remedy: end of an error message, as in `read`.

    Raises:
      InputError: as in `read`, or a cell cannot be parsed; the message quotes the cell.
    """
    key = next(iter(parsers))
    for row in read(path, parsers, remedy):
        label = f"{path}: {key} {row[key][:20]}"
        yield {
            column: _cell(row, column, parse, label, remedy) for column, parse in parsers.items()
        }


def _cell(row: Row, column: str, parse: Parser, label: str, remedy: str) -> Any:
    try:
        return parse(row[column])
    except (
        ValueError,
        SyntaxError,
        TypeError,
        KeyError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InputError(f"{label}: {column} {row[column][:80]!r} is invalid; {remedy}") from error


def optional(parse: Parser) -> Parser:
    """Returns a parser that reads an empty cell as None and any other cell as `parse` does."""
    return lambda text: parse(text) if text else None


def whole_number(text: str) -> int:
    """Parses a whole number that may end in ".0": pandas writes a column with gaps that way."""
    value = float(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def age(text: str) -> float:
    """Parses an age of 0 to 120 years."""
    value = demographics.plausible_age(float(text))
    if value is None:
        raise ValueError(text)
    return value
