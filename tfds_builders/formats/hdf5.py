"""Arrays in HDF5 files. An array that lies in a file other than the opened one is refused."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tfds_builders.recording.quality import RecordingError

CACHE_BYTES = 1 << 27
"""Memory for decompressed chunks. With automatic chunks, one chunk holds pieces of hundreds of
recordings."""
Index = int | slice | Sequence[int] | tuple[int | slice, ...]


class Contents(NamedTuple):
    """The objects in a file, by names such as "signals" and "rec1/ecg"."""

    shapes: dict[str, tuple[int, ...]]
    """Shape of each array of numbers."""
    groups: list[str]
    links: list[str]
    """Names that stand for an object elsewhere; they are not followed."""


def find(path: Path) -> Contents:
    """Returns the names of the arrays in a file and in its groups.

    Raises:
      RecordingError: the file is absent, not HDF5 or damaged.
    """
    contents = Contents({}, [], [])

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group):
            contents.groups.append(name)
        elif isinstance(item, h5py.Dataset) and _is_numeric(item):
            contents.shapes[name] = item.shape

    def visit_link(name: str, link: h5py.HardLink | h5py.SoftLink | h5py.ExternalLink) -> None:
        if not isinstance(link, h5py.HardLink):
            contents.links.append(name)

    with _open(path) as file:
        try:
            file.visititems(visit)  # each object once, and no links but hard ones
            file.visititems_links(visit_link)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            problem = " ".join(f"{path}: damaged ({error})".split())
            raise RecordingError("damaged", f"{problem}; fetch the file again") from error
    return contents


def shape(path: Path, name: str) -> tuple[int, ...]:
    """Returns the shape of the array `name`.

    Raises:
      RecordingError: the file is absent or not HDF5, or does not itself contain such an array.
    """
    return _dataset(path, name).shape


def read(path: Path, name: str, index: Index = slice(None)) -> np.ndarray:
    """Returns the array `name` of numbers, or its elements `index`.

    Raises:
      RecordingError: as in `shape`, the index is beyond the end, or the data are damaged.
    """
    dataset = _dataset(path, name)
    if isinstance(index, int) and index >= dataset.shape[0]:
        problem = f"{path}: {name} has {dataset.shape[0]} elements, no number {index}"
        raise RecordingError("length", f"{problem}; fetch it again")
    try:
        return np.asarray(dataset[index])
    except (OSError, RuntimeError) as error:
        problem = " ".join(f"{path}: {name}: {error}".split())
        raise RecordingError("damaged", f"{problem}; fetch the file again") from error


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    try:
        return h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        problem = " ".join(f"{path}: not HDF5 ({error})".split())
        raise RecordingError("format", f"{problem}; fetch the file again") from error


@functools.lru_cache(maxsize=2)
def _dataset(path: Path, name: str) -> h5py.Dataset:
    """Opens an array; it stays open while recordings are read one after another."""
    file = _open(path)
    try:
        # A link or a virtual array could make us read any file on the machine.
        dataset = file[name] if _is_own(file, name) else None
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(f"{path}: not HDF5 ({error})".split())
        raise RecordingError("format", f"{problem}; fetch the file again") from error
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        problem = f"{path}: has no array {name} of its own"
        raise RecordingError("format", f"{problem}; write the array itself into the file")
    if not _is_numeric(dataset):
        problem = f"{path}: {name} is no array of numbers"
        raise RecordingError("format", f"{problem}; fetch the file again")
    return dataset


def _is_own(file: h5py.File, name: str) -> bool:
    """Tells whether a name, in none of its parts, is a link to an object elsewhere."""
    parts = name.strip("/").split("/")
    paths = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    return all(isinstance(file.get(path, getlink=True), h5py.HardLink) for path in paths)


def _is_numeric(dataset: h5py.Dataset) -> bool:
    is_text = dataset.attrs.get("MATLAB_class") == b"char"  # stored as the numbers of its letters
    return dataset.dtype.kind in "fiub" and bool(dataset.shape) and not is_text
