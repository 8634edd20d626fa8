"""Names of the arrays in published files, for every parameter of an encoder of ecgjax."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np

from ecgjax.errors import InputError

Layout = Callable[[tuple[str, ...]], str]
"""Published name of the array at a path in the encoder's variables."""

KERAS_WEIGHTS = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
TORCH_LAYERS = {
    "reduce": "conv1.conv",
    "conv": "conv2.conv",
    "expand": "conv3.conv",
    "squeeze": "se_fc1",
    "excite": "se_fc2",
}
TORCH_START = "first_conv.conv.weight"
KERAS_UNUSED = r"projection(_\d+)?/.*"
"""The projection behind the encoder, which the file of some versions holds."""
TORCH_UNUSED = r"dense\..*|(.*\.)?(first_bn|bn[123])\..*"
"""The classifier behind the encoder, and batch normalisation that the published encoders define and
do not apply (use_bn=False)."""


def pclr_name(path: tuple[str, ...]) -> str:
    """Returns Keras's name in PCLR.h5; Keras numbers the layers of a kind as they are made.

    In a unit, the shortcut is made before the two other convolutions.
    """
    *_, layer, weight = path
    if layer.startswith("stem"):
        number = 0
    else:
        unit = int(path[1].removeprefix("unit"))
        offsets = {"shortcut": -2, "conv1": -1, "conv2": 0}
        number = 3 * unit + offsets[layer] if layer in offsets else 2 * unit - 2 + int(layer[-1])
    kind = "conv1d" if weight == "kernel" else "batch_normalization"
    suffix = f"_{number}" if number else ""
    return f"{kind}{suffix}/{KERAS_WEIGHTS.get(weight, weight)}"


def net1d_name(path: tuple[str, ...]) -> str:
    """Returns PyTorch's name in the files of ECGFounder and CLEF."""
    *_, layer, weight = path
    weight = "weight" if weight == "kernel" else weight
    if layer == "stem":
        return f"first_conv.conv.{weight}"
    numbers = [int(number) - 1 for number in re.findall(r"\d+", path[1])]
    block = "stage_list.{}.block_list.{}".format(*numbers)
    return f"{block}.{TORCH_LAYERS[layer]}.{weight}"


def without_offsets(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames Keras's layers as if the model had been the first one of its session."""
    matches = [re.fullmatch(r"([a-z_0-9]+?)(?:_(\d+))?/.*", name) for name in arrays]
    numbers: dict[str, set[int]] = {}
    for match in filter(None, matches):
        numbers.setdefault(match[1], set()).add(int(match[2] or 0))
    first = {kind: min(found) for kind, found in numbers.items() if "projection" not in kind}
    renamed = {}
    for (name, values), match in zip(arrays.items(), matches, strict=True):
        if match and first.get(match[1]):
            number = int(match[2]) - first[match[1]]
            name = f"{match[1]}{f'_{number}' if number else ''}/{name.rpartition('/')[2]}"
        renamed[name] = values
    return renamed


def without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes the name of the encoder inside a training script, such as module. or backbone."""
    starts = [name for name in arrays if name.endswith(TORCH_START)]
    prefix = starts[0].removesuffix(TORCH_START) if starts else ""
    return {name.removeprefix(prefix): values for name, values in arrays.items()}


def to_variables(
    arrays: dict[str, np.ndarray], shapes: dict, layout: Layout, unused: str, path: Path
) -> dict:
    """Returns an encoder's variables from published arrays; every array has its place.

    Args:
      arrays: published name and values.
      shapes: variables of the encoder, of which only the shapes count.
      layout: published name for each of them.
      unused: regular expression of the names of arrays that belong to no part of the encoder.
      path: the file, for messages.

    Raises:
      InputError: arrays are missing, left over, or of another shape.
    """
    flat: dict[tuple[str, ...], Any] = flax.traverse_util.flatten_dict(shapes)
    names = {place: layout(place) for place in flat}
    if missing := sorted(set(names.values()) - arrays.keys()):
        raise InputError(f"{path}: lacks {_listed(missing)}; it holds another model, see --from")
    left = [name for name in arrays if not re.fullmatch(unused, name)]
    if left := sorted(set(left) - set(names.values())):
        problem = f"{path}: has {_listed(left)}, which this architecture lacks"
        raise InputError(f"{problem}; it holds another model, see --from")
    variables = {}
    for place, leaf in flat.items():
        # PyTorch's axes are [out, in, kernel] or [out, in], those of Keras are ecgjax's.
        turned = layout is net1d_name
        values = arrays[names[place]]
        shape = leaf.shape[::-1] if turned else leaf.shape
        if values.shape != shape:
            given = "x".join(map(str, values.shape))
            expected = "x".join(map(str, shape))
            problem = f"{path}: {names[place]} is {given}, not {expected}"
            raise InputError(f"{problem}; it holds another model or other leads, see --from")
        variables[place] = np.ascontiguousarray(values.T if turned else values, np.float32)
    return flax.traverse_util.unflatten_dict(variables)


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more arrays" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
