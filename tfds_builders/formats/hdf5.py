"""Arrays in HDF5 files. An array that lies in a file other than the opened one is refused."""

import functools
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from tfds_builders.recording.quality import RecordingError

CACHE_BYTES = 1 << 27
"""Memory for decompressed chunks. With automatic chunks, one chunk holds pieces of hundreds of
recordings."""


def shape(path: Path, name: str) -> tuple[int, ...]:
    """Returns the shape of the array `name`.

    Raises:
      RecordingError: the file is absent or not HDF5, or does not itself contain such an array.
    """
    return _dataset(path, name).shape


def read(path: Path, name: str, index: int | Sequence[int] | slice = slice(None)) -> np.ndarray:
    """Returns the array `name` of numbers, or its elements `index` along the first axis.

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


@functools.lru_cache(maxsize=2)
def _dataset(path: Path, name: str) -> h5py.Dataset:
    """Opens an array; it stays open while recordings are read one after another."""
    if not path.is_file():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
        # A link or a virtual array could make us read any file on the machine.
        is_link = not isinstance(file.get(name, getlink=True), h5py.HardLink)
        dataset = None if is_link else file[name]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(f"{path}: not HDF5 ({error})".split())
        raise RecordingError("format", f"{problem}; fetch the file again") from error
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        problem = f"{path}: has no array {name} of its own"
        raise RecordingError("format", f"{problem}; fetch the file again")
    if dataset.dtype.kind not in "fiub" or not dataset.shape:
        problem = f"{path}: {name} is no array of numbers"
        raise RecordingError("format", f"{problem}; fetch the file again")
    return dataset
