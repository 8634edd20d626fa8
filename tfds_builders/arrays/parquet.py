"""Parquet files: a row for each recording, and a column of lists of samples for each lead."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from tfds_builders.recording.quality import RecordingError


@functools.lru_cache(maxsize=2)
def lengths(path: Path, leads: tuple[str, ...]) -> list[int]:
    """Returns the number of samples of each row.

    Args:
      path: the file.
      leads: the columns.

    Raises:
      RecordingError: it is absent or not Parquet, or lacks a column of lists.
    """
    names = _open(path).schema_arrow.names
    absent = [lead for lead in leads if lead not in names]
    if absent or not leads:
        problem = f"{path}: lacks column {', '.join(absent) or 'I'}"
        remedy = "give one column per lead, and `leads` in arrays.json"
        raise RecordingError("leads", f"{problem}; {remedy}")
    column = _arrow(path, lambda: _open(path).read([leads[0]])[leads[0]])
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        problem = f"{path}: column {leads[0]} has type {column.type}"
        raise RecordingError("shape", f"{problem}; give a list of samples in each row")
    functions: Any = pyarrow.compute  # created at run time, so that pyright does not know them
    return [length or 0 for length in functions.list_value_length(column).to_pylist()]


def read(path: Path, index: int, leads: tuple[str, ...]) -> np.ndarray:
    """Reads row `index` as [time, lead].

    Raises:
      RecordingError: as in `lengths`, a cell is empty, or leads differ in length.
    """
    metadata = _open(path).metadata
    group = 0
    start = 0
    while index >= start + metadata.row_group(group).num_rows:  # `lengths` has counted the rows
        start += metadata.row_group(group).num_rows
        group += 1
    row = _read_group(path, group, leads).slice(index - start, 1)
    if absent := [lead for lead in leads if not row[lead][0].is_valid]:
        problem = f"{path}: row {index}: the cell of lead {', '.join(absent)} is empty"
        raise RecordingError("shape", f"{problem}; fill it, or leave the row out")
    columns = [row[lead][0].values.to_numpy(zero_copy_only=False) for lead in leads]
    if len({len(column) for column in columns}) > 1:
        problem = f"{path}: row {index}: leads of different lengths"
        raise RecordingError("shape", f"{problem}; write it again")
    return np.stack(columns, axis=1)


@functools.lru_cache(maxsize=1)
def _read_group(path: Path, group: int, leads: tuple[str, ...]) -> pa.Table:
    return _arrow(path, lambda: _open(path).read_row_group(group, list(leads)))


def _open(path: Path) -> pyarrow.parquet.ParquetFile:
    return _arrow(path, lambda: pyarrow.parquet.ParquetFile(path))


def _arrow(path: Path, call: Callable[[], Any]) -> Any:
    """Calls Arrow and turns its exceptions into a RecordingError."""
    try:
        return call()
    except (OSError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())[:200]
        message = f"{path}: not Parquet ({problem}); write it again"
        raise RecordingError("format", message) from error
