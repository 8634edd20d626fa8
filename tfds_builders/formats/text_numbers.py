"""Numbers in the cells of text files, with a decimal point or comma; words for missing samples."""

import re
from collections.abc import Sequence

import numpy as np

from tfds_builders.formats.text_grid import Row
from tfds_builders.recording.quality import RecordingError

MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "?", "missing"})
_NUMBER = re.compile(r"[+-]?(\d+(\.|[.,]\d+)?|[.,]\d+)(e[+-]?\d+)?|[+-]?inf", re.ASCII | re.I)


def is_missing(cell: str) -> bool:
    """Tells whether a cell stands for a missing sample."""
    return cell.casefold() in MISSING_WORDS


def is_number(cell: str) -> bool:
    """Tells whether a cell holds a number or stands for a missing sample."""
    return is_missing(cell) or _NUMBER.fullmatch(cell) is not None


def convert(cells: Sequence[str], rows: list[Row], label: str) -> np.ndarray:
    """Converts the cells of a lead to float64 [time], NaN for a missing sample.

    Args:
      cells: the cells of a column.
      rows: the rows that they are from, for the error message.
      label: file, column and the word for a row, for the error message.

    Raises:
      RecordingError: a cell is no number, or decimal commas and points are mixed.
    """
    try:
        if any("_" in cell for cell in cells):  # float() accepts 1_000
            raise ValueError
        return np.array([float(cell) for cell in cells])
    except ValueError:
        pass
    for cell, row in zip(cells, rows, strict=True):
        if not is_number(cell):
            problem = f"{label} {row.number} holds no number"
            raise RecordingError("format", f"{problem}; leave the cell empty if it is missing")
    numbers = [cell.replace(",", ".") for cell in cells if not is_missing(cell)]
    if any("," in cell for cell in cells) and any("." in cell for cell in cells):
        problem = f"{label}s with a decimal comma and others with a point"
        raise RecordingError("format", f"{problem}; write all numbers in the same way")
    values = np.full(len(cells), np.nan)
    values[[not is_missing(cell) for cell in cells]] = [*map(float, numbers)]
    return values
