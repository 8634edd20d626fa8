"""Arrays in files of weights: Keras's HDF5, safetensors, and PyTorch's files without their code."""

import codecs
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ecgjax.errors import InputError, first_line

NESTS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts save the weights among other things."""
NO_WEIGHTS = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights; run git lfs pull there",
    b"<!DOCTYPE": "a web page, not the weights; download the file itself",
    b"<!doctype": "a web page, not the weights; download the file itself",
    b"<html": "a web page, not the weights; download the file itself",
}
"""First bytes of files that a download often leaves in place of the weights."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of a file of weights by their names.

    Names in HDF5 are LAYER/WEIGHT as Keras 2 gives them, such as conv1d_3/kernel. Nothing in a file
    is executed.

    Raises:
      InputError: the file cannot be read, holds no arrays, or needs a package that is absent.
    """
    if not path.is_file():
        reason = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {reason}; give the file of weights that you have downloaded")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: not a file of weights; known are {', '.join(READERS)}")
    with path.open("rb") as file:
        start = file.read(32)
    for text, problem in NO_WEIGHTS.items():
        if start.startswith(text):
            raise InputError(f"{path}: {problem}")
    try:
        arrays = reader(path)
    except InputError:
        raise
    except Exception as error:  # the libraries raise a dozen types for broken files
        problem = f"{path}: cannot be read ({first_line(error)})"
        raise InputError(f"{problem}; download it again") from error
    if not arrays:
        raise InputError(f"{path}: holds no arrays; give the published file")
    return {name: _checked(name, values, path) for name, values in arrays.items()}


def _checked(name: str, values: np.ndarray, path: Path) -> np.ndarray:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise InputError(f"{path}: {name} holds NaN or infinity; download it again")
    return values


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    import h5py

    arrays = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            layer, _, weight = name.rpartition("/")
            arrays[f"{layer.rpartition('/')[2]}/{weight.partition(':')[0]}"] = np.asarray(item[()])

    with h5py.File(path) as file:
        # A saved model has its weights beside those of the optimizer; saved weights lie at the top.
        top: Any = file["model_weights"] if "model_weights" in file else file
        top.visititems(keep)
    return arrays


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    return _package("safetensors.numpy", path).load_file(path)


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _package("torch", path)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise  # damaged, or no file of PyTorch
        raise InputError(
            f"{path}: holds code besides its arrays, which ecgjax does not run; where you trust "
            f"it: safetensors.torch.save_file(torch.load({path.name!r}, weights_only=False)"
            f"['state_dict'], 'weights.safetensors')"
        ) from error
    return {
        name: value.detach().float().numpy() if value.is_floating_point() else value.numpy()
        for name, value in _state_dict(content).items()
        if hasattr(value, "is_floating_point")
    }


def _numpy_scalars() -> list:
    """Returns the globals of NumPy's numbers: checkpoints hold an AUROC beside the weights."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *kinds, codecs.encode]


def _state_dict(content: Any) -> Mapping[str, Any]:
    """Returns the mapping from names to tensors, which may lie in another one."""
    if not isinstance(content, Mapping):
        return {}
    nested = [content[key] for key in NESTS if isinstance(content.get(key), Mapping)]
    return nested[0] if nested else content


def _package(name: str, path: Path) -> ModuleType:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        problem = f"{path}: reading it needs {package}"
        raise InputError(f"{problem}; run pip install {package}") from error


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".h5": _read_keras,
    ".hdf5": _read_keras,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".ckpt": _read_torch,
}
"""Reader for each ending of a file name."""
