"""Files of a prepared data set: found, regular, inside its folder, and of bounded size.

A data set may come from somebody else. Nothing in it is imported or run, no name in it leads out of
its folder, and a damaged file is an `InputError` that names it.
"""

import contextlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError, first_line

TABLE = "records.parquet"
DEEPEST = 3
"""Folders between an output folder and the files of a data set: name/config/version."""
_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}", re.ASCII)
_DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError),
    *(MemoryError, RecursionError, ArithmeticError, NotImplementedError),
)
"""Exceptions of the standard library, Arrow and ArrayRecord on damaged files."""


def find(path: Path) -> Path:
    """Returns `path`, or the one prepared data set below it (name/config/version).

    Of several versions of one data set the newest one counts, with a line on standard error.

    Raises:
      InputError: there is none, or there are several.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; give the folder that ecgjax.launch.prepare printed"
        )
    patterns = [f"{'*/' * depth}{TABLE}" for depth in range(DEEPEST + 1)]
    tables = (table for pattern in patterns for table in path.glob(pattern))
    folders = sorted(table.parent for table in tables if _is_finished(table, path))
    if len(folders) > 1:
        folders = _newest(path, folders)
    if len(folders) == 1:
        return folders[0]
    problem = "no prepared data set"
    if folders:
        problem = f"{len(folders)} prepared data sets ({', '.join(map(str, folders[:4]))})"
    raise InputError(f"{path}: {problem}; give one that ecgjax.launch.prepare wrote")


def _is_finished(table: Path, path: Path) -> bool:
    folders = table.relative_to(path).parts[:-1]
    return not any(name.startswith((".", "incomplete.")) for name in folders)


def _newest(path: Path, folders: list[Path]) -> list[Path]:
    """Returns the newest folder if all are versions of one data set, else all of them."""
    are_versions = all(_VERSION.fullmatch(folder.name) for folder in folders)
    if len({folder.parent for folder in folders}) > 1 or not are_versions:
        return folders
    *older, newest = sorted(folders, key=lambda folder: tuple(map(int, folder.name.split("."))))
    names = ", ".join(folder.name for folder in older)
    warn(f"{path}: holds versions {names} and {newest.name}; taking {newest.name}")
    return [newest]


def warn(line: str) -> None:
    """Prints a warning, one line on standard error."""
    print(f"warning: {line}", file=sys.stderr)


def inside(folder: Path, name: str) -> Path:
    """Returns the regular file of a folder, after links to other files of the folder.

    Raises:
      InputError: it is missing, is not a regular file, or is a link that leaves the folder.
    """
    file = folder / name
    if not os.path.lexists(file):
        raise InputError(f"{file}: is missing; copy the whole folder, or prepare it again")
    with damage_named(file):
        mode = file.lstat().st_mode
        if stat.S_ISLNK(mode):
            if file.resolve().parent != folder.resolve():
                raise InputError(f"{file}: leads out of the folder; copy the file itself into it")
            mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{file}: is not a regular file; prepare the data set again")
    return file


def read_json(file: Path, most_bytes: int) -> dict[str, Any]:
    """Reads a JSON object from a file of a bounded size.

    Raises:
      InputError: the file is larger, or is no JSON object.
    """
    with damage_named(file):
        limit_size(file, most_bytes)
        content = json.loads(file.read_bytes().decode())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return content


def limit_size(file: Path, most_bytes: int) -> None:
    """Raises ValueError if a file has more than `most_bytes`."""
    size_bytes = file.stat().st_size
    if size_bytes > most_bytes:
        raise ValueError(f"{size_bytes:,} bytes, more than {most_bytes:,}")


@contextlib.contextmanager
def damage_named(file: Path) -> Iterator[None]:
    """Turns exceptions that a damaged file causes into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(
            f"{file}: damaged, or not written by ecgjax.launch.prepare ({first_line(error)}); "
            f"prepare the data set again"
        ) from error
