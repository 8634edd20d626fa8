"""Models as read from checkpoints, and model folders: checkpoints for use, not for resuming.

A model folder is an Orbax bundle like a checkpoint (see `ecgjax.train.checkpoint`) without the part
`train`, which holds the optimizer:

encoder    {"params": ..., "batch_stats": ...}
head       {"params": {"head": ...}, "batch_stats": {"norm": ...}}; only if there is a head. With
           "queries" in the config, its parameters hold "attention" as well
data       hashes of the recordings and patients that the encoder has seen
config     JSON: encoder, preprocessing, settings of the run; of a head also "outputs", "window_s"
manifest   JSON: SHA-256 of every array and of the config
"""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.data.seen import Seen
from ecgjax.errors import first_line
from ecgjax.outputs import EncoderWithHead, Outputs, separate
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.checkpoint import (
    find_checkpoint,
    read_config,
    read_parts,
    write_parts,
)
from ecgjax.train.manifest import (
    CheckpointDamaged,
    check_arrays,
    check_finite,
    encoder_from_config,
    make_manifest,
)


@dataclasses.dataclass(frozen=True, eq=False)
class SavedModel:
    """A model as read from a checkpoint or model folder."""

    module: nn.Module
    """The Flax module of the encoder."""
    variables: dict
    """Variables of the encoder, {"params", "batch_stats"}, as NumPy arrays."""
    preprocessing: Preprocessing
    """The preprocessing that the encoder was trained with."""
    config: dict
    """The whole config of the checkpoint."""
    seen: Seen
    """Recordings and patients that the encoder was trained on."""
    head: dict | None = None
    """Variables of the head, {"params", "batch_stats"}; None if there is none."""


def save_model(folder: Path, model: SavedModel) -> None:
    """Writes a model folder; replaces an earlier one."""
    arrays = {"encoder": model.variables, "data": model.seen.to_uint32()}
    if model.head is not None:
        arrays["head"] = model.head
    parts = {
        **arrays,
        "config": model.config,
        "manifest": make_manifest(arrays, model.config),
    }
    write_parts(folder, parts)


def load_model(path: str | Path) -> SavedModel:
    """Reads a model from a model folder, a checkpoint, the workdir of a run, or a shipped name.

    Raises:
      InputError: there is no checkpoint, it is damaged, or its weights do not fit the architecture
        in its config.
    """
    path = find_checkpoint(path)
    try:
        return _read(path)
    except CheckpointDamaged as damage:
        remedy = "copy it again if it was cut short, or give another checkpoint"
        raise CheckpointDamaged(f"{damage}; {remedy}") from damage


def _read(path: Path) -> SavedModel:
    config = read_config(path)
    module, preprocessing = encoder_from_config(config)
    try:
        shapes = _shapes(module, preprocessing, config)
        arrays, manifest = read_parts(path, {**shapes, "data": None})
    except Exception as error:
        name = config["encoder"]["name"]
        raise CheckpointDamaged(
            f"{path}: cannot be read as {name} ({first_line(error)})"
        ) from error
    check_arrays(arrays, manifest, path)
    check_finite(arrays, path)
    seen = Seen.from_uint32(arrays.pop("data"))
    arrays = jax.tree.map(np.asarray, arrays)
    head = arrays.get("head")
    return SavedModel(module, arrays["encoder"], preprocessing, config, seen, head)


def _shapes(encoder: nn.Module, preprocessing: Preprocessing, config: dict) -> dict:
    """Returns shapes and types of a model's parts, placed on this process's first device."""
    outputs = config.get("outputs")
    module = encoder
    if outputs is not None:
        number = len(Outputs.from_config(outputs))
        queries = config.get("queries", 0)
        module = EncoderWithHead(encoder=encoder, outputs=number, queries=queries)
    signal = jax.ShapeDtypeStruct((1, preprocessing.samples, len(preprocessing.leads)), jnp.float32)
    variables = jax.eval_shape(
        lambda key, signal: module.init(key, signal, train=False), jax.random.key(0), signal
    )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), dict(variables)
    )
    if outputs is None:
        return {"encoder": placed}
    return dict(zip(("encoder", "head"), separate(placed), strict=True))
