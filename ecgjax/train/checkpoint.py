"""Checkpoints: Orbax bundles of named parts, checked against a manifest of hashes when read.

encoder    {"params": ..., "batch_stats": ...}: all that fine-tuning, the benchmark and Colab load.
           If the state has a collection "result", the encoder in it is saved here
train      step, heads, optimizer state: what else resuming needs. The step is also the position
           in the data
data       hashes of the recordings and patients that the encoder has seen, so that it is not
           tested on them
config     JSON: encoder, preprocessing, and every setting of the run
manifest   JSON: SHA-256 of every array and of the config, see `ecgjax.train.manifest`. Orbax does
           not notice a flipped bit
"""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError, first_line
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.manifest import (
    CheckpointDamaged,
    check_arrays,
    check_config,
    check_same_run,
    encoder_from_config,
    make_manifest,
)
from ecgjax.train.state import TrainState


@dataclasses.dataclass(frozen=True, eq=False)
class SavedEncoder:
    """An encoder as read from a checkpoint."""

    module: nn.Module
    """The Flax module."""
    variables: dict
    """{"params", "batch_stats"} as NumPy arrays."""
    preprocessing: Preprocessing
    """The preprocessing that the encoder was trained with."""
    config: dict
    """The whole config of the checkpoint."""
    seen: Seen
    """Recordings and patients that the encoder was trained on."""


class Checkpoints:
    """The checkpoints of one run, in `workdir`/checkpoints/<step>. The newest `keep` stay."""

    def __init__(self, workdir: Path, *, keep: int = 2):
        self._directory = (workdir / "checkpoints").absolute()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{workdir}: not a folder; give another --workdir") from error
        policy: Any = ocp.training.preservation_policies.LatestN(keep)
        self._orbax = ocp.training.Checkpointer(
            str(self._directory), preservation_policy=policy, context=_orbax_context()
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._orbax.close()

    def path(self, step: int) -> Path:
        """Returns the folder of the checkpoint after `step` steps."""
        return self._directory / str(step)

    def save(self, state: TrainState, config: dict, seen: Seen) -> None:
        """Saves the state after `state.step` steps; replaces a damaged checkpoint of that step."""
        arrays = {**_split_state(state), "data": _to_uint32(seen)}
        parts = {**arrays, "config": config, "manifest": make_manifest(arrays, config)}
        self._orbax.save_checkpointables(int(state.step), parts, force=True, overwrite=True)

    def resume(self, state: TrainState, config: dict) -> TrainState | None:
        """Reads the newest undamaged state; returns None if nothing was saved yet.

        Args:
          state: a fresh state of the run: structure, shapes and placement.
          config: the run's config; it must equal the saved one.

        Raises:
          InputError: the folder holds another run, or only damaged checkpoints.
        """
        steps = sorted((saved.step for saved in self._orbax.checkpoints), reverse=True)
        if not steps:
            return None
        for step in steps:
            path = self.path(step)
            try:
                check_same_run(read_config(path), config, path)
                return _read_state(path, state)
            except CheckpointDamaged as damage:
                warnings.warn(f"{damage}; trying the one before", stacklevel=2)
        raise InputError(f"{self._directory}: no undamaged checkpoint left; give another --workdir")


def load_encoder(path: str | Path) -> SavedEncoder:
    """Reads an encoder from a checkpoint, the workdir of a run, or its folder of checkpoints.

    Raises:
      InputError: there is no checkpoint, it is damaged, or its weights do not fit the architecture
        in its config.
    """
    path = find_checkpoint(path)
    try:
        return _read_encoder(path)
    except CheckpointDamaged as damage:
        raise CheckpointDamaged(f"{damage}; give another checkpoint") from damage


def find_checkpoint(path: str | Path) -> Path:
    """Returns the newest checkpoint of a workdir or folder of checkpoints, or `path` if it is one.

    Raises:
      InputError: there is none.
    """
    path = Path(path).absolute()
    for folder in (path, path / "checkpoints"):
        if (folder / "manifest").is_dir():
            return folder
        steps = [
            step
            for step in folder.glob("[0-9]*")
            if step.name.isdigit() and (step / "manifest").is_dir()
        ]
        if steps:
            return max(steps, key=lambda step: int(step.name))
    reason = "no ecgjax checkpoint in it" if path.exists() else "no such folder"
    raise InputError(f"{path}: {reason}; give the folder that pretrain or finetune printed")


def read_config(path: Path) -> dict:
    """Reads the config of one checkpoint.

    Raises:
      CheckpointDamaged: it cannot be read, or differs from what was saved.
      InputError: the checkpoint has another format.
    """
    try:
        parts = _read_json(path)
        return check_config(parts["config"], parts["manifest"], path)
    except InputError:
        raise
    except Exception as error:  # Orbax and its stores raise a dozen types for broken files
        raise CheckpointDamaged(
            f"{path}: its config cannot be read ({first_line(error)})"
        ) from error


def _read_state(path: Path, state: TrainState) -> TrainState:
    shapes = jax.tree.map(_shape, _split_state(state))
    try:
        arrays = ocp.load_checkpointables(str(path), shapes)
        manifest = _read_json(path)["manifest"]
    except Exception as error:
        raise CheckpointDamaged(f"{path}: cannot be read ({first_line(error)})") from error
    arrays = {name: arrays[name] for name in shapes}
    check_arrays(arrays, manifest, path)
    return _join_state(arrays)


def _read_encoder(path: Path) -> SavedEncoder:
    config = read_config(path)
    module, preprocessing = encoder_from_config(config)
    try:
        with _read_alone():
            shapes = _encoder_shapes(module, preprocessing)
            variables = ocp.load(str(path), shapes, checkpointable_name="encoder")
            data = ocp.load(str(path), checkpointable_name="data")
        manifest = _read_json(path)["manifest"]
    except Exception as error:
        name = config["encoder"]["name"]
        raise CheckpointDamaged(
            f"{path}: cannot be read as {name} ({first_line(error)})"
        ) from error
    check_arrays({"encoder": variables, "data": data}, manifest, path)
    variables = jax.tree.map(np.asarray, variables)
    return SavedEncoder(module, variables, preprocessing, config, _from_uint32(data))


def _read_json(path: Path) -> dict:
    with _read_alone():
        return ocp.load_checkpointables(str(path), {"config": None, "manifest": None})


def _orbax_context() -> ocp.Context:
    # Orbax would save a dict of strings as a tree of arrays.
    registry = ocp.handlers.local_registry()
    for name in ("config", "manifest"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.checkpointables.registry = registry
    return context


def _read_alone() -> ocp.Context:
    """Returns a context in which a process reads without waiting for the others."""
    process = jax.process_index()
    context = ocp.Context()
    context.multiprocessing.primary_host = process
    context.multiprocessing.active_processes = {process}
    context.multiprocessing.barrier_sync_key_prefix = f"alone{process}"
    return context


def _encoder_shapes(encoder: nn.Module, preprocessing: Preprocessing) -> dict:
    """Returns shapes and types of an encoder's variables, placed on this process's first device."""
    signal = jax.ShapeDtypeStruct((1, preprocessing.samples, len(preprocessing.leads)), jnp.float32)
    variables = jax.eval_shape(
        lambda key, signal: encoder.init(key, signal, train=False), jax.random.key(0), signal
    )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), dict(variables)
    )


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _split_state(state: TrainState) -> dict[str, dict]:
    """Splits a state into the parts encoder and train."""
    trees = _swap_result({"params": state.params, **state.collections})
    encoder = {name: tree["encoder"] for name, tree in trees.items() if "encoder" in tree}
    others = {
        name: {part: value for part, value in tree.items() if part != "encoder"}
        for name, tree in trees.items()
    }
    train = {"step": state.step, "variables": others, "opt_state": state.opt_state}
    return {"encoder": encoder, "train": train}


def _join_state(parts: dict[str, dict]) -> TrainState:
    """Inverse of `_split_state`."""
    train = parts["train"]
    trees = {name: dict(tree) for name, tree in train["variables"].items()}
    for name, tree in parts["encoder"].items():
        trees[name]["encoder"] = tree
    trees = _swap_result(trees)
    return TrainState(train["step"], trees.pop("params"), trees, train["opt_state"])


def _swap_result(trees: dict) -> dict:
    """Swaps the encoder that is trained and the one in "result", if there is one."""
    if "result" not in trees:
        return trees
    trained = trees["params"]
    result = trees["result"]["params"]
    return {
        **trees,
        "params": {**trained, "encoder": result["encoder"]},
        "result": {"params": {**result, "encoder": trained["encoder"]}},
    }


def _to_uint32(seen: Seen) -> dict[str, np.ndarray]:
    """Halves 64-bit hashes: Orbax saves JAX arrays, and JAX has no 64-bit numbers."""
    return {
        name: np.ascontiguousarray(values).view(np.uint32) for name, values in vars(seen).items()
    }


def _from_uint32(halves: dict) -> Seen:
    return Seen(**{name: np.asarray(values).view(np.uint64) for name, values in halves.items()})
