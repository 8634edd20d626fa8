"""The table of recordings in a folder by its name, and tables of other names that are not read."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from ecgjax.errors import InputError
from tfds_builders.formats import csv_table, table_columns

NAME = "recordings"
ENDINGS = (".csv", ".tsv", ".tab", ".txt")
COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".7z")
SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")


def find(folder: Path) -> Path | None:
    """Returns recordings.csv or recordings.tsv in any case, or None.

    recordings.csv.txt is one as well, since Windows does not show the last ending.

    Raises:
      InputError: there are two, or one that is compressed or in the format of a spreadsheet only.
    """
    named = [path for path in _files(folder) if _is_named(path)]
    tables = [path for path in named if path.suffix.casefold() in ENDINGS]
    if len(tables) > 1:
        names = " and ".join(path.name for path in tables)
        raise InputError(f"{folder}: has {names}; leave one of them, named recordings.csv")
    for path in named:
        if not tables and path.suffix.casefold() in SPREADSHEETS:
            raise InputError(f"{path}: no CSV; export it as recordings.csv (CSV in UTF-8)")
        if not tables and path.suffix.casefold() in COMPRESSED:
            raise InputError(f"{path}: is compressed; unpack it as recordings.csv")
    return tables[0] if tables else None


def find_others(folder: Path, table: Path | None, files: Collection[str]) -> Iterator[str]:
    """Yields warnings on tables beside the recordings that are not read.

    Args:
      folder: the folder of the recordings.
      table: the table that is read.
      files: names of the recordings, some of which may be in CSV files.
    """
    recordings = {file.partition("#")[0] for file in files}
    for path in _files(folder):
        ending = path.suffix.casefold()
        is_text = ending in ENDINGS[:-1] and (path.name not in recordings or _is_table(path))
        if path != table and (is_text or ending in SPREADSHEETS):
            remedy = "name it recordings.csv" if table is None else f"only {table.name} is"
            yield f"the table {path.name!r} beside the recordings is not read; {remedy}"


def _is_named(path: Path) -> bool:
    name = path.name.casefold()
    return any(name.startswith(NAME + ending) for ending in ENDINGS + SPREADSHEETS)


def _files(folder: Path) -> list[Path]:
    """Returns the tables of a folder in any form, without its subfolders and hidden files."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; give a folder that can be read") from error
    endings = ENDINGS + SPREADSHEETS + COMPRESSED
    tables = [
        folder / name
        for name in names
        if name.casefold().endswith(endings) and not name.startswith((".", "~"))
    ]
    return [path for path in tables if path.is_file()]


def _is_table(path: Path) -> bool:
    """Tells whether a file has a header with a column of files and another known one."""
    try:
        header = csv_table.read_sheet(path, table_columns.is_known, "").header
        return len(table_columns.find(header, path).used) > 1
    except InputError:
        return False
