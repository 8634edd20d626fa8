"""Examination of checkpoints and model folders: every array, and whether they load."""

from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from ecgjax.errors import InputError
from ecgjax.train.checkpoint import read_config, read_json, read_part
from ecgjax.train.manifest import CheckpointDamaged, changed_arrays, parts_named
from ecgjax.train.model import load_model
from ecgjax.workflows.doctor.findings import Finding, problem

USED = ("encoder", "head", "train")
"""Parts whose numbers must be finite for a model, or for a run that resumes, to be of use."""
DAMAGED = "copy the folder again, or use an earlier checkpoint"
SHOWN = 3
"""Arrays that a finding names."""


def find(path: Path) -> list[Path]:
    """Returns the checkpoints of a folder: itself, those of a run, or those of several runs."""
    own = ("[0-9]*", "checkpoints/[0-9]*", "model", "best")
    patterns = (*own, *(f"*/{pattern}" for pattern in own))
    folders = {path, *(folder for pattern in patterns for folder in path.glob(pattern))}
    found = filter(_is_checkpoint, folders)
    return sorted(found, key=lambda folder: (str(folder.parent), len(folder.name), folder))


def _is_checkpoint(folder: Path) -> bool:
    """Tells whether a folder was to be a checkpoint, complete or not."""
    parts = [(folder / name).is_dir() for name in ("manifest", "config", "encoder")]
    return parts.count(True) >= 2


def examine(path: Path) -> Iterator[Finding]:
    """Yields findings on one checkpoint or model folder."""
    subject = str(path)
    try:
        read_config(path)
        manifest = read_json(path)["manifest"]
    except InputError as error:
        remedy = DAMAGED if isinstance(error, CheckpointDamaged) else ""
        found = problem(subject, error)
        yield Finding(found.level, subject, found.message, found.remedy or remedy)
        return
    parts = parts_named(manifest)
    findings = [finding for part in parts for finding in _part(path, part, manifest)]
    yield from findings or _loaded(path, len(manifest))


def _loaded(path: Path, hashes: int) -> Iterator[Finding]:
    """Yields the model of a checkpoint whose parts are all sound."""
    subject = str(path)
    try:
        saved = load_model(path)
    except InputError as error:
        yield problem(subject, error)
        return
    count = sum(leaf.size for leaf in jax.tree.leaves(saved.variables["params"]))
    name = saved.config["encoder"]["name"]
    head = "" if saved.head is None else f", with a head for {saved.config['outputs']['target']}"
    seen = f"trained on {len(saved.seen.waveforms):,} recordings"
    model = f"{name}, {count:,} parameters, {seen}{head}"
    yield Finding("OK", subject, f"{model}; all {hashes:,} hashes agree")
    if saved.seen.unsketched:
        message = f"knows {saved.seen.unsketched:,} of its recordings by exact hashes only"
        remedy = (
            "copies of them at another sampling rate are not found; python -m "
            "ecgjax.launch.migrate --checkpoint CHECKPOINT --data DATA --out FOLDER adds sketches"
        )
        yield Finding("NOTE", subject, message, remedy)


def _part(path: Path, part: str, manifest: dict[str, str]) -> Iterator[Finding]:
    """Yields what is wrong with one part."""
    try:
        arrays = read_part(path, part)
    except CheckpointDamaged as error:
        found = problem(str(path), error)
        yield Finding("PROBLEM", str(path), found.message, DAMAGED)
        return
    if changed := changed_arrays(part, arrays, manifest):
        message = f"{len(changed)} arrays are not what was saved ({_some(changed)})"
        yield Finding("PROBLEM", str(path), message, DAMAGED)
    elif part in USED and (wrong := _not_finite(arrays)):
        message = f"{len(wrong)} arrays of the {part} hold NaN or infinity ({_some(wrong)})"
        remedy = "use an earlier checkpoint; train with a lower --optimizer.learning-rate"
        yield Finding("PROBLEM", str(path), message, remedy)


def _not_finite(arrays: dict) -> list[str]:
    return [
        jax.tree_util.keystr(keys, simple=True, separator=".")
        for keys, leaf in jax.tree.leaves_with_path(arrays)
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()
    ]


def _some(names: list[str]) -> str:
    ending = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + ending
