"""Files with arrays of recordings: one function a kind, which gives an array by recording without reading the rest."""

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
"""Of an array in an npz, which is unpacked as a whole."""


def find(folder: Path) -> list[str]:
    """The files of a kind that can be read, as paths in the folder; a Zarr store counts as one."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix in KINDS]
    return [
        str(path) for path in paths if not any(parent.suffix == ".zarr" for parent in path.parents)
    ]


def lengths(path: Path, about: Description) -> list[int]:
    """Samples of each recording of a file.

    Raises:
      RecordingError: the file cannot be read, or does not hold what arrays.json says.
    """
    if path.suffix == ".parquet":
        return _parquet_lengths(path, about)
    shape = _open(path, about).shape
    if len(shape) != len(about.axes) or shape[about.axes.index("lead")] != len(about.leads):
        expected = f"{' x '.join(about.axes)} with {len(about.leads)} leads"
        raise RecordingError(
            "shape", f"{path}: shape {list(shape)}, not {expected}; correct arrays.json or the file"
        )
    count = shape[0] if "recording" in about.axes else 1
    return [shape[about.axes.index("time")]] * count


def read(path: Path, index: int, about: Description) -> np.ndarray:
    """float64 [time, lead] in uV, NaN where a sample is missing: recording `index` of a file.

    Raises:
      RecordingError: as by `lengths`.
    """
    samples = lengths(path, about)
    if not index < len(samples):
        raise RecordingError(
            "missing_file",
            f"{path}: has {len(samples)} recordings, no number {index}; correct the table",
        )
    if samples[index] * len(about.leads) > MAX_VALUES:
        raise RecordingError(
            "length",
            f"{path}: {samples[index]} samples; give recordings of {MAX_VALUES} numbers at most",
        )
    if path.suffix == ".parquet":
        numbers = _parquet_row(path, index, about)
    else:
        array = _open(path, about)
        numbers = np.asarray(array[index] if "recording" in about.axes else array[:])
    if numbers.dtype.kind not in "fiu":
        raise RecordingError("format", f"{path}: numbers of type {numbers.dtype}; give real ones")
    numbers = numbers.astype(np.float64)
    if about.missing is not None:
        numbers[numbers == about.missing] = np.nan
    numbers = numbers * about.uv_per_number
    return numbers if about.axes[-1] == "lead" or path.suffix == ".parquet" else numbers.T


def _open(path: Path, about: Description) -> Any:
    """Something with a shape that can be indexed by recording."""
    if path.suffix != ".zarr":
        require_plain(path)
    if not path.exists():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    try:
        opener = KINDS[path.suffix]
        assert opener  # not for Parquet
        return opener(path, about.array)
    except RecordingError:
        raise
    except Exception as error:  # the readers' libraries raise whatever they like
        problem = " ".join(str(error).split())[:200]
        raise RecordingError(
            "format", f"{path}: not as its ending says ({problem}); write it again"
        ) from error


def _npy(path: Path, name: str) -> np.ndarray:
    return np.load(path, mmap_mode="r")


@functools.lru_cache(maxsize=1)
def _npz(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        if (size := archive.getinfo(f"{name}.npy").file_size) > MOST_BYTES:
            raise RecordingError(
                "length",
                f"{path}: {name} unpacks to {size} bytes, over {MOST_BYTES}; write npy files",
            )
    with np.load(path) as archive:
        return archive[name]


@functools.lru_cache(maxsize=1)
def _mat(path: Path, name: str) -> np.ndarray:
    import scipy.io  # here: it takes a while, and few have such files

    shapes = {found: shape for found, shape, _ in scipy.io.whosmat(str(path))}
    if (size := 8 * math.prod(shapes[name])) > MOST_BYTES:
        raise RecordingError(
            "length", f"{path}: {name} unpacks to {size} bytes, over {MOST_BYTES}; write npy files"
        )
    return np.asarray(scipy.io.loadmat(str(path), variable_names=[name])[name])


class _Hdf5:
    """An array of an HDF5 file."""

    def __init__(self, path: Path, name: str):
        self.path, self.name, self.shape = path, name, hdf5.shape(path, name)

    def __getitem__(self, index: int | slice) -> np.ndarray:
        return hdf5.read(self.path, self.name, index)


def _zarr(path: Path, name: str) -> Any:
    try:
        import zarr  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RecordingError(
            "format", f"{path}: Zarr is not installed; pip install 'ecgjax[zarr]'"
        ) from error
    return zarr.open_group(str(path), mode="r")[name]


def _parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    require_plain(path)
    return _arrow(path, lambda: pyarrow.parquet.ParquetFile(path))


def _arrow(path: Path, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except (OSError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())[:200]
        raise RecordingError(
            "format", f"{path}: not Parquet ({problem}); write it again"
        ) from error


@functools.lru_cache(maxsize=2)
def _parquet_lengths(path: Path, about: Description) -> list[int]:
    names = _parquet(path).schema_arrow.names
    if absent := [lead for lead in about.leads if lead not in names]:
        raise RecordingError(
            "leads",
            f"{path}: lacks column {', '.join(absent)}; give a column a lead, or correct arrays.json",
        )
    column = _arrow(path, lambda: _parquet(path).read([about.leads[0]])[about.leads[0]])
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise RecordingError(
            "shape",
            f"{path}: column {about.leads[0]} is of {column.type}; give a list of samples a row",
        )
    functions: Any = pyarrow.compute  # they are made at run time
    return [length or 0 for length in functions.list_value_length(column).to_pylist()]


def _parquet_row(path: Path, index: int, about: Description) -> np.ndarray:
    file, start = _parquet(path), 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if index < start + rows:
            row = _parquet_group(path, group, about.leads).slice(index - start, 1)
            columns = [row[lead][0].values.to_numpy(zero_copy_only=False) for lead in about.leads]
            if len({len(column) for column in columns}) > 1:
                raise RecordingError(
                    "shape", f"{path}: row {index}: leads of different lengths; write it again"
                )
            return np.stack(columns, axis=1)
        start += rows
    raise AssertionError("lengths() has counted the rows")


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
"""How the array of a file is opened, by its ending."""
