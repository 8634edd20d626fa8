"""A publisher's table of recordings, a CSV file: a cell that is not what it should be stops the conversion."""

import csv
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError

Row = dict[str, str]


def read(path: Path, columns: Collection[str], remedy: str) -> list[Row]:
    """The rows of a CSV file that has at least `columns`.

    Args:
      path: the file.
      columns: those that will be asked for.
      remedy: ends the message of an error, as "replace the file by PhysioNet's".

    Raises:
      InputError: there is no such file, it is no table, or a column is absent.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            found, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}; {remedy}") from error
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; give the folder that holds it as --source"
        ) from error
    if absent := [column for column in columns if column not in found]:
        raise InputError(f"{path}: lacks column {', '.join(absent)}; {remedy}")
    return rows


def cell(row: Row, column: str, parse: Callable[[str], Any], where: str, remedy: str) -> Any:
    """A cell as `parse` reads it; `where` says in an error which table and row it is of."""
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
        raise InputError(
            f"{where}: {column} {row[column][:80]!r} is not what belongs there; {remedy}"
        ) from error


def if_given(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """`parse`, but None for an empty cell."""
    return lambda text: parse(text) if text else None


def whole(text: str) -> int:
    """15709 of "15709.0", as pandas writes a column of whole numbers with gaps."""
    value = float(text)
    if value != int(value):
        raise ValueError(text)
    return int(value)


def age(text: str) -> float:
    """Years."""
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= 120):
        raise ValueError(text)
    return value
