"""Arrays of recordings in files of several kinds.

For each kind, one function opens an array, from which one recording can be read without the others.
"""

import functools
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from tfds_builders.arrays.description import Description
from tfds_builders.formats import hdf5
from tfds_builders.formats.wfdb_header import MAX_VALUES, require_plain
from tfds_builders.recording.quality import RecordingError

MOST_BYTES = 1 << 31
"""Largest size of an array in an npz or MATLAB file, which is unpacked as a whole."""


def find(folder: Path) -> list[str]:
    """Returns the supported files as paths in the folder; a Zarr store counts as one file."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix in KINDS]
    return [
        str(path) for path in paths if not any(parent.suffix == ".zarr" for parent in path.parents)
    ]


def lengths(path: Path, about: Description) -> list[int]:
    """Returns the number of samples of each recording in a file.

    Raises:
      RecordingError: the file cannot be read, or contradicts arrays.json.
    """
    if path.suffix == ".parquet":
        return _parquet_lengths(path, about)
    shape = _open(path, about).shape
    if len(shape) != len(about.axes) or shape[about.axes.index("lead")] != len(about.leads):
        expected = f"{' x '.join(about.axes)} with {len(about.leads)} leads"
        problem = f"{path}: shape {list(shape)}, not {expected}"
        raise RecordingError("shape", f"{problem}; correct arrays.json or the file")
    count = shape[0] if "recording" in about.axes else 1
    return [shape[about.axes.index("time")]] * count


def read(path: Path, index: int, about: Description) -> np.ndarray:
    """Reads recording `index` of a file as float64 [time, lead] in uV, NaN for a missing sample.

    Raises:
      RecordingError: as in `lengths`, or the file has no such recording, or it is too long.
    """
    samples = lengths(path, about)
    if index >= len(samples):
        problem = f"{path}: has {len(samples)} recordings, no number {index}"
        raise RecordingError("missing_file", f"{problem}; correct the table")
    if samples[index] * len(about.leads) > MAX_VALUES:
        problem = f"{path}: {samples[index]} samples"
        remedy = f"give recordings of {MAX_VALUES} numbers at most"
        raise RecordingError("length", f"{problem}; {remedy}")
    is_parquet = path.suffix == ".parquet"
    numbers = _parquet_row(path, index, about) if is_parquet else _element(path, index, about)
    if numbers.dtype.kind not in "fiu":
        problem = f"{path}: numbers of type {numbers.dtype}"
        raise RecordingError("format", f"{problem}; give real ones")
    numbers = numbers.astype(np.float64)
    if about.missing is not None:
        numbers[numbers == about.missing] = np.nan
    numbers = numbers * about.uv_per_lsb
    return numbers if about.axes[-1] == "lead" or is_parquet else numbers.T


def _element(path: Path, index: int, about: Description) -> np.ndarray:
    array = _open(path, about)
    return np.asarray(array[index] if "recording" in about.axes else array[:])


def _open(path: Path, about: Description) -> Any:
    """Opens an array that has a shape and can be indexed by recording."""
    if path.suffix != ".zarr":
        require_plain(path)
    if not path.exists():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    try:
        open_array = KINDS[path.suffix]
        assert open_array  # not for Parquet
        return open_array(path, about.array)
    except RecordingError:
        raise
    except Exception as error:  # the libraries raise many kinds
        problem = " ".join(str(error).split())[:200]
        message = f"{path}: content does not match its ending ({problem}); write it again"
        raise RecordingError("format", message) from error


def _npy(path: Path, name: str) -> np.ndarray:
    return np.load(path, mmap_mode="r")


@functools.lru_cache(maxsize=1)
def _npz(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        _check_size(path, name, archive.getinfo(f"{name}.npy").file_size)
    with np.load(path) as archive:
        return archive[name]


@functools.lru_cache(maxsize=1)
def _mat(path: Path, name: str) -> np.ndarray:
    import scipy.io  # here: it is slow to import, and few users have such files

    shapes = {array: shape for array, shape, _ in scipy.io.whosmat(str(path))}
    _check_size(path, name, 8 * math.prod(shapes[name]))
    return np.asarray(scipy.io.loadmat(str(path), variable_names=[name])[name])


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MOST_BYTES:
        problem = f"{path}: {name} unpacks to {size} bytes, over {MOST_BYTES}"
        raise RecordingError("length", f"{problem}; write npy files")


class _Hdf5:
    """An array of an HDF5 file."""

    def __init__(self, path: Path, name: str):
        self.path = path
        self.name = name
        self.shape = hdf5.shape(path, name)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        return hdf5.read(self.path, self.name, index)


def _zarr(path: Path, name: str) -> Any:
    try:
        import zarr  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        problem = f"{path}: Zarr is not installed"
        raise RecordingError("format", f"{problem}; pip install 'ecgjax[zarr]'") from error
    return zarr.open_group(str(path), mode="r")[name]


def _parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    require_plain(path)
    return _arrow(path, lambda: pyarrow.parquet.ParquetFile(path))


def _arrow(path: Path, call: Callable[[], Any]) -> Any:
    """Calls Arrow and turns its exceptions into a RecordingError."""
    try:
        return call()
    except (OSError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())[:200]
        message = f"{path}: not Parquet ({problem}); write it again"
        raise RecordingError("format", message) from error


@functools.lru_cache(maxsize=2)
def _parquet_lengths(path: Path, about: Description) -> list[int]:
    names = _parquet(path).schema_arrow.names
    if absent := [lead for lead in about.leads if lead not in names]:
        problem = f"{path}: lacks column {', '.join(absent)}"
        remedy = "give one column per lead, or correct arrays.json"
        raise RecordingError("leads", f"{problem}; {remedy}")
    lead = about.leads[0]
    column = _arrow(path, lambda: _parquet(path).read([lead])[lead])
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        problem = f"{path}: column {lead} has type {column.type}"
        raise RecordingError("shape", f"{problem}; give a list of samples in each row")
    functions: Any = pyarrow.compute  # created at run time, so that pyright does not know them
    return [length or 0 for length in functions.list_value_length(column).to_pylist()]


def _parquet_row(path: Path, index: int, about: Description) -> np.ndarray:
    """Reads row `index` as [time, lead]."""
    metadata = _parquet(path).metadata
    group = 0
    start = 0
    while index >= start + metadata.row_group(group).num_rows:  # `lengths` has checked the index
        start += metadata.row_group(group).num_rows
        group += 1
    row = _parquet_group(path, group, about.leads).slice(index - start, 1)
    columns = [row[lead][0].values.to_numpy(zero_copy_only=False) for lead in about.leads]
    if len({len(column) for column in columns}) > 1:
        problem = f"{path}: row {index}: leads of different lengths"
        raise RecordingError("shape", f"{problem}; write it again")
    return np.stack(columns, axis=1)


@functools.lru_cache(maxsize=1)
def _parquet_group(path: Path, group: int, leads: tuple[str, ...]) -> pa.Table:
    return _arrow(path, lambda: _parquet(path).read_row_group(group, list(leads)))


KINDS: dict[str, Callable[[Path, str], Any] | None] = {
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _Hdf5,
    ".hdf5": _Hdf5,
    ".mat": _mat,
    ".zarr": _zarr,
    ".parquet": None,
}
"""Function that opens an array, by the ending of the file. Parquet is read by column instead."""
