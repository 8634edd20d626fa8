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

import warnings
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError, first_line
from ecgjax.train.config_bounds import check_chunks, check_files, check_seen
from ecgjax.train.manifest import (
    CheckpointDamaged,
    check_arrays,
    check_config,
    check_finite,
    check_same_run,
    first_not_finite,
    make_manifest,
)
from ecgjax.train.saving import SaveFailed, save_or_fail
from ecgjax.train.state import TrainState
from ecgjax.train.state_parts import join_state, split_state

WEIGHTS = Path(__file__).parent.parent / "weights"
"""Folder of the encoders that are shipped with ecgjax, one model folder for each."""


class Checkpoints:
    """The checkpoints of one run, in `workdir`/checkpoints/<step>. The newest `keep` stay."""

    def __init__(self, workdir: Path, *, keep: int = 2):
        self._directory = (workdir / "checkpoints").absolute()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{workdir}: not a folder; give another --workdir") from error
        except OSError as error:
            problem = f"{workdir}: no files can be written to it ({error.strerror})"
            raise InputError(f"{problem}; give another --workdir") from error
        policy: Any = ocp.training.preservation_policies.LatestN(keep)
        self._orbax = ocp.training.Checkpointer(
            str(self._directory), preservation_policy=policy, context=_orbax_context()
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if kind is None or not issubclass(kind, SaveFailed):  # else it may wait for minutes
            self._orbax.close()

    def path(self, step: int) -> Path:
        """Returns the folder of the checkpoint after `step` steps."""
        return self._directory / str(step)

    def save(self, state: TrainState, config: dict, seen: Seen) -> None:
        """Saves the state after `state.step` steps; replaces a damaged checkpoint of that step.

        Raises:
          InputError: the state is not finite, or cannot be written. Earlier checkpoints stay.
        """
        step = int(state.step)
        arrays = {**split_state(state), "data": seen.to_uint32()}
        intact = self._intact(step)
        if name := first_not_finite(arrays):
            raise InputError(
                f"step {step}: {name} is not finite and is not saved; {intact}; lower "
                f"--optimizer.learning-rate"
            )
        parts = {**arrays, "config": config, "manifest": make_manifest(arrays, config)}
        save_or_fail(
            lambda: self._orbax.save_checkpointables(step, parts, force=True, overwrite=True),
            self._directory,
            max(sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)), self._size_before()),
            f"{intact}; make room and give the same command again",
        )

    def _size_before(self) -> int:
        """Returns the bytes of the newest checkpoint; a small one is mostly names and hashes."""
        latest = self._orbax.latest
        files = self.path(latest.step).rglob("*") if latest else ()
        return sum(file.stat().st_size for file in files if file.is_file())

    def _intact(self, step: int) -> str:
        """Returns words for the newest checkpoint before a step."""
        earlier = [saved.step for saved in self._orbax.checkpoints if saved.step < step]
        return f"checkpoint {max(earlier)} is intact" if earlier else "no checkpoint was saved yet"

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


def find_checkpoint(path: str | Path) -> Path:
    """Returns the folder of a checkpoint.

    Args:
      path: a checkpoint or model folder; the workdir of a run, whose model is taken, or else its
        newest checkpoint; a folder of checkpoints; or the name of a shipped encoder.

    Raises:
      InputError: there is none.
    """
    name = str(path)
    path = Path(path).expanduser().absolute()
    shipped = WEIGHTS / name
    for folder in (path, path / "model", path / "checkpoints", shipped):
        if (folder / "manifest").is_dir():
            return folder
        numbered = numbered_folders(folder)
        whole = [step for step in numbered if (step / "manifest").is_dir()]
        if whole:
            if whole[-1] != numbered[-1]:
                problem = f"{numbered[-1]}: has no manifest, so it is not whole"
                warnings.warn(f"{problem}; taking {whole[-1].name}", stacklevel=2)
            return whole[-1]
    reason = "no ecgjax checkpoint in it" if path.exists() else "no such folder"
    names = ", ".join(sorted(folder.name for folder in WEIGHTS.glob("[!._]*") if folder.is_dir()))
    remedy = f"give the folder that pretrain or finetune printed, or one of {names}"
    if (path / "fold-1").is_dir():
        reason = "holds the models of folds only"
        remedy = "run finetune again with --refit, or give one of them, such as fold-1"
    raise InputError(f"{path}: {reason}; {remedy}")


def numbered_folders(folder: Path) -> list[Path]:
    """Returns the folders of checkpoints in a folder, ascending by step; some may be damaged."""
    numbered = [
        step
        for step in folder.glob("[0-9]*")
        if step.name.isascii() and step.name.isdecimal() and step.is_dir()
    ]
    return sorted(numbered, key=lambda step: int(step.name))


def read_config(path: Path) -> dict:
    """Reads the config of one checkpoint.

    Raises:
      CheckpointDamaged: it cannot be read, or differs from what was saved.
      InputError: the checkpoint has another format.
    """
    check_files(path)
    try:
        parts = read_json(path)
        return check_config(parts["config"], parts["manifest"], path)
    except InputError:
        raise
    except Exception as error:  # Orbax and its stores raise a dozen types for broken files
        raise CheckpointDamaged(
            f"{path}: its config cannot be read ({first_line(error)})"
        ) from error


def _read_state(path: Path, state: TrainState) -> TrainState:
    shapes = jax.tree.map(_shape, split_state(state))
    try:
        arrays = ocp.load_checkpointables(str(path), shapes)
        manifest = read_json(path)["manifest"]
    except Exception as error:
        raise CheckpointDamaged(f"{path}: cannot be read ({first_line(error)})") from error
    arrays = {name: arrays[name] for name in shapes}
    check_arrays(arrays, manifest, path)
    check_finite(arrays, path)
    return join_state(arrays)


def write_parts(folder: Path, parts: dict[str, dict]) -> None:
    """Writes named parts as one bundle, without waiting for other processes.

    Raises:
      InputError: they cannot be written.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    sizes = [getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(parts)]
    with _alone(_orbax_context()):
        save_or_fail(
            lambda: ocp.save_checkpointables(str(folder), parts, overwrite=True),
            folder.parent,
            sum(sizes),
            "make room and give the same command again",
        )


def read_parts(path: Path, shapes: dict[str, dict | None]) -> tuple[dict[str, dict], dict]:
    """Reads some parts of a bundle, and its manifest; other parts are not read.

    Args:
      path: a checkpoint or model folder.
      shapes: {part: shapes and types of its arrays}, which must fit; None takes what is there.
    """
    with _alone(ocp.Context()):
        saved: Any = ocp.checkpointables_metadata(str(path))
        check_chunks({name: saved.metadata[name] for name in shapes})
        if "data" in shapes:
            check_seen(saved.metadata["data"])
        arrays = {
            name: ocp.load(str(path), part, checkpointable_name=name)
            for name, part in shapes.items()
        }
    return arrays, read_json(path)["manifest"]


def read_json(path: Path) -> dict:
    """Reads config and manifest of one checkpoint."""
    with _alone(ocp.Context()):
        return ocp.load_checkpointables(str(path), {"config": None, "manifest": None})


def read_part(path: Path, name: str) -> dict:
    """Reads one part of a checkpoint as it lies there; the architecture need not be known.

    Names of tuples come back as keys of dicts.

    Raises:
      CheckpointDamaged: it cannot be read.
    """
    absolute = str(path.absolute())  # as Orbax wants it here
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    try:
        with _alone(ocp.Context()):
            saved: Any = ocp.checkpointables_metadata(absolute)
            check_chunks(saved.metadata[name])
            if name == "data":
                check_seen(saved.metadata[name])
            shapes = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
                saved.metadata[name],
            )
            return ocp.load(absolute, shapes, checkpointable_name=name)
    except Exception as error:
        problem = f"{path}: its part {name} cannot be read ({first_line(error)})"
        raise CheckpointDamaged(problem) from error


def _orbax_context() -> ocp.Context:
    """Returns a context that saves config and manifest as JSON."""
    # Orbax would save a dict of strings as a tree of arrays.
    registry = ocp.handlers.local_registry()
    for name in ("config", "manifest"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.checkpointables.registry = registry
    return context


def _alone(context: ocp.Context) -> ocp.Context:
    """Changes a context so that a process reads and writes without waiting for the others."""
    process = jax.process_index()
    context.multiprocessing.primary_host = process
    context.multiprocessing.active_processes = {process}
    context.multiprocessing.barrier_sync_key_prefix = f"alone{process}"
    return context


def _shape(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
