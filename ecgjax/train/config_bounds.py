"""Bounds of what a checkpoint may ask for, since it may come from somebody else.

A config decides which network is traced and how large its input is. It is checked before anything
of its size is made: types, literals, and numbers within what any encoder needs.
"""

import dataclasses
import math
import os
import stat
from pathlib import Path
from typing import Any

import jax

from ecgjax import encoders
from ecgjax.errors import InputError, first_line
from ecgjax.outputs import Outputs
from ecgjax.preprocessing import Preprocessing

MOST_FILES = 100_000
"""Files and folders of a checkpoint; a large model has hundreds."""
MOST_LEVELS = 16
"""Folders within folders of a checkpoint, which has three levels."""
MOST_JSON_BYTES = 100_000_000
"""Size of a config or a manifest; those of a large model take 1 MB."""
MOST_NUMBERS = 100_000_000
"""Numbers of the part `data`: 400 MB, of 14 million recordings."""
MOST_OUTPUTS = 10_000
MOST_QUERIES = 1024
LARGEST = 65_536
"""Largest width, kernel or stride of a network."""
DEEPEST = 64
"""Most layers of a network."""
_JSON = ("config", "manifest")
_LAYERS = ("depths", "layers", "lstm_layers", "halvings", "blocks")
"""Settings that count layers."""
LONGEST = 300
"""Characters of a reason that are shown."""
LONGEST_CHAIN = 100
"""Runs that continued each other."""


def check_files(path: Path) -> None:
    """Checks that a checkpoint consists of regular files within its folder.

    Raises:
      InputError: it holds a link, a pipe or a device, too many files or levels of folders, or a
        config or manifest far larger than any.
    """
    number = 0
    folders = [(str(path), 0)]
    while folders:
        folder, level = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                number += 1
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append((entry.path, level + 1))
                elif not stat.S_ISREG(status.st_mode):
                    problem = f"{entry.path[:LONGEST]}: is not a regular file"
                    raise InputError(f"{problem}; copy the checkpoint again")
                elif os.path.basename(folder) in _JSON and status.st_size > MOST_JSON_BYTES:
                    problem = f"{entry.path[:LONGEST]}: {status.st_size:,} bytes"
                    raise InputError(f"{problem}, too large for its purpose; give a checkpoint")
                if number > MOST_FILES or level > MOST_LEVELS:
                    limit = f"more than {MOST_FILES:,} files or {MOST_LEVELS} levels of folders"
                    raise InputError(f"{path}: {limit}; give a checkpoint")


def check(config: Any, path: Path) -> None:
    """Checks the config of a checkpoint.

    Raises:
      InputError: it is not one that ecgjax writes.
    """
    try:
        _check_encoder(dict(config["encoder"]))
        _check_preprocessing(dict(config["preprocessing"]))
        _check_head(config)
        _check_origin(config)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        words = str(error) if isinstance(error, InputError) else first_line(error)
        problem = " ".join(words.split())[:LONGEST]
        raise InputError(
            f"{path}: its config is not one of this ecgjax ({problem}); give another checkpoint"
        ) from error


def check_chunks(arrays: Any) -> None:
    """Checks that no piece of an array on the disk claims to be larger than the array.

    Args:
      arrays: a tree of arrays' metadata.

    Raises:
      ValueError: one does; reading would make room for it.
    """
    for keys, array in jax.tree.leaves_with_path(arrays):
        storage = getattr(array, "storage_metadata", None)
        chunk = getattr(storage, "chunk_shape", None) or ()
        if math.prod(chunk) > math.prod(array.shape):
            name = jax.tree_util.keystr(keys, simple=True, separator=".")
            raise ValueError(f"{name} is stored in pieces of {list(chunk)}")


def check_seen(arrays: Any) -> None:
    """Checks shapes and types of the part `data`, before it is read.

    Args:
      arrays: {name: array's metadata}.

    Raises:
      ValueError: it is not a set of recordings.
    """
    if not {"waveforms", "patients"} <= arrays.keys():
        raise ValueError("data lacks waveforms or patients")
    total = 0
    for name, array in arrays.items():
        if len(array.shape) != 1 or str(array.dtype) != "uint32":
            raise ValueError(f"data.{str(name)[:40]} is no list of numbers")
        total += array.shape[0]
    if total > MOST_NUMBERS:
        raise ValueError(f"data of {total:,} numbers, more than {MOST_NUMBERS:,}")


def _check_encoder(settings: dict) -> None:
    name = settings.pop("name")
    if not isinstance(name, str) or name not in encoders.ENCODERS:
        raise InputError(
            f"encoder {str(name)[:40]!r} is unknown to this ecgjax; give one of "
            f"{', '.join(encoders.ENCODERS)}"
        )
    known = encoders.settings(encoders.ENCODERS[name])
    for key, value in settings.items():
        if not key.isidentifier() or len(key) > 100:
            raise ValueError(f"a setting {key[:40]!r}")
        if key in known:  # `encoders.build` refuses the others
            _check_setting(key, value, known[key])


def _check_setting(key: str, value: Any, default: Any) -> None:
    """Raises ValueError if a setting has another type than its default, or is out of bounds."""
    values = value if isinstance(value, list) else [value]
    is_list = isinstance(default, tuple | list)
    if isinstance(value, list) != is_list or not 0 < len(values) <= DEEPEST:
        raise ValueError(f"{key} is {_short(value)}")
    examples = default if is_list else (default,)
    for number in values:
        is_number = type(number) is int and -1 <= number <= LARGEST
        is_fraction = type(number) in (int, float) and math.isfinite(number)
        fits = {
            bool: type(number) is bool,
            int: is_number,
            float: is_fraction and abs(number) <= LARGEST,
            str: isinstance(number, str) and len(number) <= LARGEST,
            type(None): number is None or is_number,
        }
        if not fits.get(type(examples[0]) if examples else int, True):
            raise ValueError(f"{key} is {_short(value)}")
    if key in _LAYERS and sum(values) > DEEPEST:
        raise ValueError(f"{key} is {_short(value)}, more than {DEEPEST} layers")


def _check_preprocessing(settings: dict) -> None:
    names = {field.name for field in dataclasses.fields(Preprocessing)}
    if unknown := sorted(map(str, settings.keys() - names)):
        raise ValueError(f"unknown preprocessing {_short(', '.join(unknown))}")
    if not isinstance(settings["leads"], list | tuple):
        raise ValueError(f"leads are {_short(settings['leads'])}")
    Preprocessing(**{**settings, "leads": tuple(settings["leads"])})


def _check_head(config: dict) -> None:
    queries = config.get("queries", 0)
    if type(queries) is not int or not 0 <= queries <= MOST_QUERIES:
        raise ValueError(f"queries is {_short(queries)}")
    if config.get("outputs") is None:
        return
    outputs = Outputs.from_config(config["outputs"])
    if len(outputs) > MOST_OUTPUTS or not all(isinstance(name, str) for name in outputs.names):
        raise ValueError("outputs are not names")
    numbers = [*outputs.means, *outputs.scales, *outputs.thresholds]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("means, scales or thresholds are not numbers")
    if not isinstance(outputs.target, str):
        raise ValueError("the target has no name")


def _check_origin(config: dict) -> None:
    """Raises ValueError if the names of the data sets, here or of earlier runs, are none."""
    entry = config
    for _ in range(LONGEST_CHAIN):
        names = [entry.get("data", ""), *entry.get("start_data", ())]
        published = entry.get("published", {})
        if not all(isinstance(name, str) for name in names) or not isinstance(published, dict):
            raise ValueError("its data sets have no names")
        if "published" in entry:
            _ = published["title"], published["trained_on"]
        if "init" not in entry:
            return
        entry = entry["init"]
    raise ValueError(f"more than {LONGEST_CHAIN} runs before")


def _short(value: object) -> str:
    return str(value)[:60]
