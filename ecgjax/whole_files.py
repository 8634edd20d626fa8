"""Files that are written beside and renamed: a reader finds the old file or the new one, whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yields the name of a file to write, which then takes the place of `path`.

    A kill, a full disk or another error leaves `path` as it was.

    Raises:
      OSError: it cannot be written; the error names `path`.
    """
    unfinished = path.with_name(f"unfinished-{path.name}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        if error.errno is None or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Writes a text file as a whole."""
    with replaced(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
