"""Files with named arrays: NumPy, MATLAB, HDF5 and Zarr.

For each kind, one function returns the arrays of numbers by their names, without reading them.
"""

import dataclasses
import functools
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfds_builders.formats import hdf5
from tfds_builders.recording.quality import RecordingError

MOST_BYTES = 1 << 31
"""Largest size of an array in an npz or MATLAB file, which is unpacked as a whole."""
HDF5 = (".h5", ".hdf5", ".hdf")
Index = tuple[int | slice, ...]


class Array(Protocol):
    """An array of numbers that is read when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Index, /) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array that is read, as a whole or in part, by a function."""

    shape: tuple[int, ...]
    read: Callable[[Index], Any]

    def __getitem__(self, index: Index) -> np.ndarray:
        return np.asarray(self.read(index))


def find(path: Path) -> Mapping[str, Array]:
    """Returns the arrays of a file by their names; the array of an npy file has the name "".

    Raises:
      RecordingError: the file is absent, or its content is not what its ending promises.
    """
    if not path.exists():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    return _find(path, path.stat().st_mtime_ns)


def links(path: Path) -> list[str]:
    """Returns the names in an HDF5 file that stand for an object elsewhere."""
    return hdf5.find(path).links if path.suffix.casefold() in HDF5 else []


@functools.lru_cache(maxsize=1)  # recordings of a file are read one after another
def _find(path: Path, changed_ns: int) -> Mapping[str, Array]:
    try:
        return KINDS[path.suffix.casefold()](path)
    except RecordingError:
        raise
    except Exception as error:  # the libraries raise many kinds
        problem = " ".join(str(error).split())[:200]
        message = f"{path}: content does not match its ending ({problem}); write it again"
        raise RecordingError("format", message) from error


def _npy(path: Path) -> Mapping[str, Array]:
    return {"": np.load(path, mmap_mode="r")}


def _npz(path: Path) -> Mapping[str, Array]:
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header: Any = np.lib.format.read_array_header_2_0
                if version == (1, 0):
                    read_header = np.lib.format.read_array_header_1_0
                shape, _, dtype = read_header(file)
            if dtype.kind in "fiub":
                _check_size(path, member.filename, member.file_size)
                name = member.filename.removesuffix(".npy")
                arrays[name] = Stored(shape, functools.partial(_read_npz, path, name))
    return arrays


def _read_npz(path: Path, name: str, index: Index) -> np.ndarray:
    return _unpack_npz(path, name)[index]


@functools.lru_cache(maxsize=1)
def _unpack_npz(path: Path, name: str) -> np.ndarray:
    with np.load(path) as archive:
        return archive[name]


def _mat(path: Path) -> Mapping[str, Array]:
    with path.open("rb") as file:
        is_hdf5 = file.read(19) == b"MATLAB 7.3 MAT-file"
    return _mat_73(path) if is_hdf5 else _mat_5(path)


def _mat_5(path: Path) -> Mapping[str, Array]:
    import scipy.io  # here: it is slow to import, and few users have such files

    arrays = {}
    contents = scipy.io.whosmat(str(path))
    for name, shape, kind in contents:
        if kind in MATLAB_NUMBERS:
            _check_size(path, name, 8 * math.prod(shape))
            arrays[name] = Stored(shape, functools.partial(_read_mat, path, name))
    if not arrays:
        _refuse_structs(path, [name for name, _, kind in contents if kind in ("struct", "cell")])
    return arrays


MATLAB_NUMBERS = {
    *("double", "single", "logical"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
"""Classes of MATLAB's arrays of numbers."""


def _read_mat(path: Path, name: str, index: Index) -> np.ndarray:
    return _load_mat(path, name)[index]


@functools.lru_cache(maxsize=1)
def _load_mat(path: Path, name: str) -> np.ndarray:
    import scipy.io

    return np.asarray(scipy.io.loadmat(str(path), variable_names=[name])[name])


def _mat_73(path: Path) -> Mapping[str, Array]:
    """Returns the arrays of a file of MATLAB 7.3, which is HDF5 with all axes in reverse order."""
    contents = hdf5.find(path)
    arrays = {
        name: Stored(shape[::-1], functools.partial(_read_reversed, path, name))
        for name, shape in contents.shapes.items()
        if "/" not in name
    }
    if not arrays:
        _refuse_structs(path, [name for name in contents.groups if name[0] != "#"])
    return arrays


def _read_reversed(path: Path, name: str, index: Index) -> np.ndarray:
    return hdf5.read(path, name, index[::-1]).T


def _refuse_structs(path: Path, names: list[str]) -> None:
    if names:
        problem = f"{path}: holds structs or cells ({', '.join(names)[:100]}) and no array"
        remedy = "in MATLAB: signals = NAME.FIELD; save('FILE.mat', 'signals')"
        raise RecordingError("format", f"{problem}; {remedy}")


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MOST_BYTES:
        problem = f"{path}: {name} unpacks to {size} bytes, over {MOST_BYTES}"
        raise RecordingError("length", f"{problem}; write npy files")


def _hdf5(path: Path) -> Mapping[str, Array]:
    return {
        name: Stored(shape, functools.partial(hdf5.read, path, name))
        for name, shape in hdf5.find(path).shapes.items()
    }


def _zarr(path: Path) -> Mapping[str, Array]:
    try:
        import zarr  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        problem = f"{path}: Zarr is not installed"
        raise RecordingError("format", f"{problem}; pip install 'ecgjax[zarr]'") from error
    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return {"": node}
    return {
        name: item
        for name, item in sorted(node.members(max_depth=None))
        if isinstance(item, zarr.Array) and item.dtype.kind in "fiub"
    }


KINDS: dict[str, Callable[[Path], Mapping[str, Array]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".mat": _mat,
    **dict.fromkeys(HDF5, _hdf5),
    ".zarr": _zarr,
}
"""Function that finds the arrays, by the ending of the file in lower case."""
