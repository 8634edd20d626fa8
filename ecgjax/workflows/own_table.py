"""A user's own table as text: CSV, TSV or Parquet."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any

import pyarrow.parquet

from ecgjax.errors import InputError, first_line
from tfds_builders.formats import csv_table, table_columns

_REMEDY = "save it as CSV, TSV or Parquet with names of columns in its first row"
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


@dataclasses.dataclass(frozen=True)
class OwnTable:
    """A user's table as text."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    """Cells of each row, one for each column; "" for an absent value."""
    numbers: list[int]
    """Number of each row, as a spreadsheet counts; the header is row 1."""

    def column(self, name: str) -> list[str]:
        """Returns the cells of a column.

        Raises:
          InputError: there is no such column.
        """
        position = self.header.index(self.find_column(name))
        return [row[position] for row in self.rows]

    def find_column(self, name: str) -> str:
        """Returns the name of a column as it is written; case, blanks and _ do not matter.

        Raises:
          InputError: there is no such column.
        """
        if name in self.header:
            return name
        plain = table_columns.plain(name)
        similar = [each for each in self.header if plain and table_columns.plain(each) == plain]
        if len(similar) == 1:
            return similar[0]
        known = ", ".join(self.header[:20]) + ", ..." * (len(self.header) > 20)
        close = difflib.get_close_matches(name, self.header, n=3)
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise InputError(f"{self.path}: has no column {name!r}{hint}; it has {known}")


def read_table(path: Path) -> OwnTable:
    """Reads a table: Parquet, or text with the delimiter comma, semicolon, tab or bar.

    Raises:
      InputError: it is absent, damaged, no table, or has two columns of one name.
    """
    if not path.is_file():
        problem = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {problem}; give a table as CSV, TSV or Parquet")
    if path.suffix.casefold() in _SPREADSHEETS:
        raise InputError(f"{path}: a spreadsheet; {_REMEDY}")
    if path.suffix.casefold() == ".parquet":
        try:
            table = pyarrow.parquet.read_table(path)
        except (OSError, pyarrow.ArrowException) as error:
            problem = f"{path}: cannot be read as Parquet ({first_line(error)})"
            raise InputError(f"{problem}; {_REMEDY}") from error
        columns = [list(map(_text, column.to_pylist())) for column in table.columns]
        rows = [list(cells) for cells in zip(*columns, strict=True)]
        read = OwnTable(path, table.column_names, rows, list(range(2, len(rows) + 2)))
    else:
        sheet = csv_table.read_sheet(path, table_columns.is_known, _REMEDY)
        cells = [[cell.strip() for cell in row] for _, row in sheet.rows]
        read = OwnTable(path, sheet.header, cells, [number for number, _ in sheet.rows])
    if not read.rows:
        raise InputError(f"{path}: has no row below the names of its columns; {_REMEDY}")
    if twice := {name for name in read.header if name and read.header.count(name) > 1}:
        raise InputError(f"{path}: two columns {sorted(twice)[0]!r}; rename one of them")
    return read


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ";".join(map(_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None or value != value else str(value).strip()
