"""Arrays and tables, read whole by the plain calls of numpy, h5py, scipy, zarr or pandas."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgjax.signals import lead_name
from tfds_builders.second_readers.reading import CannotRead


class Place(NamedTuple):
    """The place of a recording in its file."""

    array: str
    """Name of the array; empty for npy."""
    index: int
    """Number of the recording along the axis `recording`, or of the row in Parquet."""
    axes: tuple[str, ...]
    """The order of recording, time and lead."""
    names: tuple[str, ...]
    """Names of the leads, unless the file has them."""


class Numbers(NamedTuple):
    """A recording as the file has it."""

    reader: str
    """Name and version of the library."""
    numbers: np.ndarray
    """float64 [time, signal]."""
    names: tuple[str, ...]
    """Name of each signal."""


def read(path: Path, place: Place) -> Numbers:
    """Reads a recording.

    Raises:
      CannotRead: the library raises an error, or none knows the ending of the file.
    """
    ending = path.suffix.casefold()
    try:
        if ending in (".parquet", ".pq"):
            return _read_parquet(path, place)
        if ending in READERS:
            return _read_array(path, place)
        return _read_text(path, place)
    except Exception as error:  # the libraries raise many kinds
        raise CannotRead("the plain call of a library", error) from error


def _read_array(path: Path, place: Place) -> Numbers:
    reader, array = READERS[path.suffix.casefold()](path, place.array)
    numbers = np.asarray(array)
    axes = place.axes
    if "recording" in axes:
        numbers = numbers.take(place.index, axis=axes.index("recording"))
        axes = tuple(axis for axis in axes if axis != "recording")
    if "lead" not in axes:
        return Numbers(reader, numbers.reshape(-1, 1).astype(float), place.names)
    if numbers.ndim > len(axes):  # further axes of length 1
        numbers = numbers.squeeze()
    numbers = numbers if axes == ("time", "lead") else numbers.T
    return Numbers(reader, numbers.astype(float), place.names)


def _read_parquet(path: Path, place: Place) -> Numbers:
    import pandas

    row: Any = pandas.read_parquet(path, columns=list(place.names)).iloc[place.index]
    numbers = np.stack([np.asarray(row[name], float) for name in place.names], axis=1)
    return Numbers(f"pandas {pandas.__version__}", numbers, place.names)


def _read_text(path: Path, place: Place) -> Numbers:
    """Reads a table with a header of leads, or one whose columns are the leads in order."""
    import pandas

    if place.axes and place.axes[-1] == "time" and "lead" in place.axes:
        raise ValueError("a table with a row for each lead")
    tables = [_read_table(path, place.names, decimal) for decimal in ".,"]
    names, cells, numbers = max(tables, key=lambda table: table[2].count().sum())
    if (cells.notna() & numbers.isna())[1:].any(axis=None):  # the first row may hold units
        raise ValueError("a table with cells that are no numbers")
    return Numbers(f"pandas {pandas.__version__}", numbers.to_numpy(float), names)


def _read_table(path: Path, leads: Sequence[str], decimal: str) -> tuple[tuple[str, ...], Any, Any]:
    """Returns the names of the leads, their cells, and their numbers with NaN for other cells."""
    import pandas

    settings: Any = {"sep": None, "engine": "python", "comment": "#", "decimal": decimal}
    frame: Any = pandas.read_csv(path, **settings)
    names = tuple(map(str, frame.columns))
    if not any(map(lead_name, names)):
        frame = pandas.read_csv(path, **settings, header=None)
        names = tuple(leads)
        if len(frame.columns) != len(names):
            raise ValueError("a table without names of leads has other columns")
    columns = [index for index, name in enumerate(names) if lead_name(name)]
    cells = frame.iloc[:, columns]
    numbers = cells.apply(pandas.to_numeric, errors="coerce")
    return tuple(names[index] for index in columns), cells, numbers


def _npy(path: Path, array: str) -> tuple[str, Any]:
    return f"numpy {np.__version__}", np.load(path)


def _npz(path: Path, array: str) -> tuple[str, Any]:
    with np.load(path) as archive:
        return f"numpy {np.__version__}", archive[array]


def _hdf5(path: Path, array: str) -> tuple[str, Any]:
    import h5py

    with h5py.File(path) as file:
        return f"h5py {h5py.__version__}", np.asarray(file[array])


def _mat(path: Path, array: str) -> tuple[str, Any]:
    import scipy
    import scipy.io

    try:
        return f"scipy {scipy.__version__}", scipy.io.loadmat(str(path))[array]
    except NotImplementedError:  # MATLAB 7.3 is HDF5, with reversed axes
        reader, numbers = _hdf5(path, array)
        return reader, numbers.T


def _zarr(path: Path, array: str) -> tuple[str, Any]:
    import zarr  # pyright: ignore[reportMissingImports]

    node: Any = zarr.open(str(path), mode="r")
    return f"zarr {zarr.__version__}", node[array] if array else node


READERS: dict[str, Callable[[Path, str], tuple[str, Any]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".hdf": _hdf5,
    ".mat": _mat,
    ".zarr": _zarr,
}
