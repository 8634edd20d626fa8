"""Weights as a safetensors file, for code of one's own.

An array is called after the modules that it lies in, such as encoder.params.block1.conv1.kernel or
head.params.head.bias. Kernels of convolutions are [tap, in, out], those of dense layers [in, out].
The metadata has one entry "ecgjax", JSON: encoder, preprocessing, and outputs and window_s of a
classifier.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from ecgjax.classifier import Classifier
from ecgjax.errors import InputError, first_line
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.train.manifest import encoder_from_config
from ecgjax.workflows.export.program import Program


def write(program: Program, path: Path, description: dict) -> None:
    """Writes the weights, with the description as metadata."""
    from safetensors.numpy import save_file

    parts = {"encoder": program.encoder.variables}
    if isinstance(program.model, Classifier):
        parts["head"] = program.model.head
    arrays = {
        ".".join(str(key.key) for key in keys): np.ascontiguousarray(leaf)
        for keys, leaf in jax.tree_util.tree_leaves_with_path(parts)
    }
    save_file(arrays, str(path), {"ecgjax": json.dumps(description)})


def rebuild(path: Path) -> Encoder | Classifier:
    """Rebuilds a model from the weights and metadata in a file.

    The hashes of the recordings that it was trained on are not in the file.

    Raises:
      InputError: it cannot be read, or is no export of ecgjax.
    """
    import safetensors

    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        description = json.loads(metadata["ecgjax"])
    except Exception as error:
        problem = f"{path}: no weights that ecgjax has exported ({first_line(error)})"
        raise InputError(f"{problem}; give a file of ecgjax export") from error
    parts: dict = {}
    for name, array in arrays.items():
        *modules, last = name.split(".")
        inner = parts
        for module in modules:
            inner = inner.setdefault(module, {})
        inner[last] = array
    module, preprocessing = encoder_from_config(description)
    encoder = Encoder(module, parts["encoder"], preprocessing, description, restored=len(arrays))
    if "head" not in parts:
        return encoder
    outputs = Outputs.from_config(description["outputs_of_head"])
    return Classifier(encoder, parts["head"], outputs, description["window_s"])


def read(path: Path, program: Program) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Returns the function of a model rebuilt from a file."""
    return Program(rebuild(path), program.rate_hz, program.leads, program.samples).apply
