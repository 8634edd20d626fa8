"""Checkpoints: an Orbax bundle of named parts, strictly loaded and checked against a manifest of content hashes.

encoder    {"params": ..., "batch_stats": ...}: all that fine-tuning, the benchmark and Colab load; that of the
           collection "result" where there is one
train      step, projection head, optimizer state: what resuming needs besides. The step is also the place in the data
data       hashes of the recordings and patients that the encoder has seen, so that it is not tested on them
config     JSON: encoder, preprocessing, and every setting of the run
manifest   JSON: SHA-256 of every array and of the config. Orbax itself does not notice a flipped bit
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from ecgjax import encoders
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.state import TrainState

FORMAT = 2


def _orbax_context() -> ocp.Context:
    # Orbax would save a dict of strings as a tree of arrays.
    registry = ocp.handlers.local_registry()
    for name in ("config", "manifest"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.checkpointables.registry = registry
    return context


def _read_alone() -> ocp.Context:
    """For what a process may read without the others, who would be waited for."""
    context, me = ocp.Context(), jax.process_index()
    alone = context.multiprocessing
    alone.primary_host, alone.active_processes, alone.barrier_sync_key_prefix = (
        me,
        {me},
        f"alone{me}",
    )
    return context


class CheckpointDamaged(InputError):
    """A checkpoint whose content is not what was saved."""


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
        """The folder of the checkpoint after `step` steps."""
        return self._directory / str(step)

    def save(self, state: TrainState, config: dict, seen: Seen) -> None:
        """Saves after `state.step` steps; replaces a damaged checkpoint of that step."""
        encoder, train = _parts(state)
        arrays = {"encoder": encoder, "train": train, "data": _halves(seen)}
        manifest = {**_hashes(arrays), "config": _digest_json(config)}
        parts = {**arrays, "config": config, "manifest": manifest}
        self._orbax.save_checkpointables(int(state.step), parts, force=True, overwrite=True)

    def resume(self, state: TrainState, config: dict) -> TrainState | None:
        """The newest undamaged state; None where nothing was saved yet.

        Args:
          state: a fresh state of the run: structure, shapes and placement.
          config: the run's config; it must be the saved one.

        Raises:
          InputError: the folder holds another run, or only damaged checkpoints.
        """
        steps = sorted((saved.step for saved in self._orbax.checkpoints), reverse=True)
        if not steps:
            return None
        for step in steps:
            path = self.path(step)
            try:
                _check_same_run(read_config(path), config, path)
                return self._load(path, state)
            except CheckpointDamaged as damage:
                warnings.warn(f"{damage}; trying the one before", stacklevel=2)
        raise InputError(f"{self._directory}: no undamaged checkpoint left; give another --workdir")

    def _load(self, path: Path, state: TrainState) -> TrainState:
        encoder, train = _parts(state)
        abstract = {"encoder": _abstract(encoder), "train": _abstract(train)}
        try:
            loaded, json_parts = ocp.load_checkpointables(str(path), abstract), _read_json(path)
        except Exception as error:  # Orbax and its stores raise a dozen types for broken files
            raise CheckpointDamaged(f"{path}: cannot be read ({_first_line(error)})") from error
        arrays = {name: loaded[name] for name in ("encoder", "train")}
        manifest = {
            name: digest
            for name, digest in json_parts["manifest"].items()
            if not name.startswith("['data']")
        }
        if {**_hashes(arrays), "config": _digest_json(json_parts["config"])} != manifest:
            raise CheckpointDamaged(f"{path}: its content is not what was saved")
        return _joined(loaded["encoder"], loaded["train"])


def load_encoder(path: str | Path) -> tuple[nn.Module, dict, Preprocessing, dict, Seen]:
    """Reads an encoder from a checkpoint, a run's workdir, or its folder of checkpoints.

    Returns:
      The Flax module, its variables {"params", "batch_stats"} as NumPy arrays, its preprocessing, the
      whole config, and what it has seen.

    Raises:
      InputError: no checkpoint there, damaged, or not the architecture that its config says.
    """
    path = find_checkpoint(path)
    config = read_config(path)
    encoder, preprocessing = described_encoder(config)
    abstract = abstract_encoder(encoder, preprocessing)
    try:
        with _read_alone():
            variables = ocp.load(str(path), abstract, checkpointable_name="encoder")
            halves = ocp.load(str(path), checkpointable_name="data")
        manifest = _read_json(path)["manifest"]
    except Exception as error:
        raise CheckpointDamaged(
            f"{path}: cannot be read as {config['encoder']['name']} ({_first_line(error)}); give another checkpoint"
        ) from error
    saved = {
        name: digest
        for name, digest in manifest.items()
        if name.startswith(("['encoder']", "['data']"))
    }
    if _hashes({"encoder": variables, "data": halves}) != saved:
        raise CheckpointDamaged(
            f"{path}: its content is not what was saved; give another checkpoint"
        )
    return (
        encoder,
        jax.tree.map(np.asarray, variables),
        preprocessing,
        config,
        _joined_halves(halves),
    )


def find_checkpoint(path: str | Path) -> Path:
    """The newest checkpoint of a workdir or a folder of checkpoints, or `path` itself if it is one."""
    path = Path(path).absolute()
    folders = [path, path / "checkpoints"]
    for folder in folders:
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
    """The config part of one checkpoint, as it was saved."""
    try:
        parts = _read_json(path)
        config, intact = (
            parts["config"],
            parts["manifest"]["config"] == _digest_json(parts["config"]),
        )
    except Exception as error:
        raise CheckpointDamaged(
            f"{path}: its config cannot be read ({_first_line(error)})"
        ) from error
    if not intact:
        raise CheckpointDamaged(f"{path}: its config is not what was saved")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{path}: checkpoint format {config.get('format')}, this ecgjax reads {FORMAT}"
        )
    return config


def _read_json(path: Path) -> dict:
    with _read_alone():
        return ocp.load_checkpointables(str(path), {"config": None, "manifest": None})


def describe(name: str, encoder: nn.Module, preprocessing: Preprocessing) -> dict:
    """The part of a config from which an encoder can be rebuilt."""
    described = {
        "format": FORMAT,
        "encoder": {"name": name, **encoders.settings(encoder)},
        "preprocessing": preprocessing.__dict__,
    }
    return json.loads(json.dumps(described))


def described_encoder(config: dict) -> tuple[nn.Module, Preprocessing]:
    """The encoder and its preprocessing from a checkpoint's config."""
    fields = dict(config["encoder"])
    preprocessing = {**config["preprocessing"], "leads": tuple(config["preprocessing"]["leads"])}
    return encoders.build(fields.pop("name"), fields), Preprocessing(**preprocessing)


def abstract_encoder(encoder: nn.Module, preprocessing: Preprocessing) -> dict:
    """Shapes and types of an encoder's variables, to be placed on this process's first device."""
    signal = jax.ShapeDtypeStruct((1, preprocessing.samples, len(preprocessing.leads)), jnp.float32)
    variables = jax.eval_shape(
        lambda key, signal: encoder.init(key, signal, train=False), jax.random.key(0), signal
    )
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), dict(variables)
    )


def _parts(state: TrainState) -> tuple[dict, dict]:
    """A state -> its parts encoder and train."""
    trees = _exchanged({"params": state.params, **state.collections})
    encoder = {name: tree["encoder"] for name, tree in trees.items() if "encoder" in tree}
    others = {
        name: {k: v for k, v in tree.items() if k != "encoder"} for name, tree in trees.items()
    }
    return encoder, {"step": state.step, "variables": others, "opt_state": state.opt_state}


def _joined(encoder: dict, train: dict) -> TrainState:
    """The inverse of `_parts`."""
    trees = {
        name: {**others, **({"encoder": encoder[name]} if name in encoder else {})}
        for name, others in train["variables"].items()
    }
    trees = _exchanged(trees)
    return TrainState(train["step"], trees.pop("params"), trees, train["opt_state"])


def _exchanged(trees: dict) -> dict:
    """The trained encoder and the one that is the result instead, where there is one, in each other's place."""
    if "result" not in trees:
        return trees
    one, other = trees["params"], trees["result"]["params"]
    first, second = {**one, "encoder": other["encoder"]}, {**other, "encoder": one["encoder"]}
    return {**trees, "params": first, "result": {"params": second}}


def _halves(seen: Seen) -> dict[str, np.ndarray]:
    """JAX, through which Orbax goes, has no 64-bit numbers."""
    return {
        name: np.ascontiguousarray(values).view(np.uint32) for name, values in vars(seen).items()
    }


def _joined_halves(halves: dict) -> Seen:
    return Seen(**{name: np.asarray(values).view(np.uint64) for name, values in halves.items()})


def _abstract(tree: dict) -> dict:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree
    )


def _hashes(tree: dict) -> dict[str, str]:
    leaves = jax.tree.leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): _digest(np.asarray(leaf).tobytes()) for path, leaf in leaves
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_json(value: dict) -> str:
    return _digest(json.dumps(value, sort_keys=True).encode())


def _first_line(error: Exception) -> str:
    return (
        f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
        if str(error)
        else type(error).__name__
    )


def _check_same_run(saved: dict, present: dict, path: Path) -> None:
    saved, present = _flat(saved), _flat(present)
    differing = [
        name for name in sorted({*saved, *present}) if saved.get(name) != present.get(name)
    ]
    if differing:
        what = "; ".join(
            f"{name} {_was(saved, name)}, now {present.get(name)}" for name in differing[:4]
        )
        raise InputError(
            f"{path}: holds another run ({what}); give its settings, or another --workdir"
        )


def _was(saved: dict, name: str) -> str:
    return f"was {saved[name]}" if name in saved else "was unknown to the ecgjax that saved it"


def _flat(tree: dict, prefix: str = "") -> dict:
    out = {}
    for name, value in tree.items():
        out.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return out
