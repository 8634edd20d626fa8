"""The CSV table in which a publisher lists the recordings of a data set, read strictly.

A cell that cannot be parsed stops the conversion: a table with one wrong cell may have others.
"""

import csv
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError

Row = dict[str, str]
Parser = Callable[[str], Any]
"""Converts the text of a cell; raises an exception such as ValueError if the text is invalid."""


def read(path: Path, columns: Collection[str], remedy: str) -> list[Row]:
    """Returns the rows of a CSV file as text.

    Args:
      path: the file.
      columns: names of the columns that must exist; there may be others.
      remedy: end of an error message, such as "replace the file by PhysioNet's".

    Raises:
      InputError: the file is absent, is no CSV table, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            header = reader.fieldnames or ()
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}; {remedy}") from error
    except OSError as error:
        problem = f"{path}: {error.strerror}"
        raise InputError(f"{problem}; give the folder that holds it as --source") from error
    if absent := [column for column in columns if column not in header]:
        raise InputError(f"{path}: lacks column {', '.join(absent)}; {remedy}")
    return rows


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
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= 120):
        raise ValueError(text)
    return value
