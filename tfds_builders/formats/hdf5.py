"""Arrays in HDF5 files, none of which lies in another file than the one opened."""

import functools
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from tfds_builders.recording.quality import RecordingError

CACHE_BYTES = 1 << 27
"""Of decompressed chunks: in files made with automatic chunks, one holds pieces of hundreds of recordings."""


def shape(path: Path, name: str) -> tuple[int, ...]:
    """Shape of the array `name`.

    Raises:
      RecordingError: the file is absent or no HDF5, or it has no such array in itself.
    """
    return _dataset(path, name).shape


def read(path: Path, name: str, index: int | Sequence[int] | slice = slice(None)) -> np.ndarray:
    """The array `name`, or element `index` along its first axis. Numbers only.

    Raises:
      RecordingError: as by `shape`; or the index is beyond the end, or the data are damaged.
    """
    dataset = _dataset(path, name)
    if isinstance(index, int) and not index < dataset.shape[0]:
        raise RecordingError(
            "length",
            f"{path}: {name} has {dataset.shape[0]} elements, no number {index}; fetch it again",
        )
    try:
        return np.asarray(dataset[index])
    except (OSError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise RecordingError(
            "damaged", f"{path}: {name}: {problem}; fetch the file again"
        ) from error


@functools.lru_cache(maxsize=2)
def _dataset(path: Path, name: str) -> h5py.Dataset:
    """Open for as long as recordings of it are asked for one after another."""
    if not path.is_file():
        raise RecordingError("missing_file", f"{path}: no such file; is the source complete?")
    try:
        file = h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES)
        # A link or a virtual array could have any file on the machine read.
        linked = not isinstance(file.get(name, getlink=True), h5py.HardLink)
        dataset = None if linked else file[name]
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise RecordingError(
            "format", f"{path}: not HDF5 ({problem}); fetch the file again"
        ) from error
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise RecordingError(
            "format", f"{path}: has no array {name} of its own; fetch the file again"
        )
    if dataset.dtype.kind not in "fiub" or not dataset.shape:
        raise RecordingError(
            "format", f"{path}: {name} is no array of numbers; fetch the file again"
        )
    return dataset
