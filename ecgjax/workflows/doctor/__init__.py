"""First aid: findings on an installation, a data set, a checkpoint or raw files, with remedies."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecgjax.remote import is_remote
from ecgjax.workflows.doctor import accelerators, installation, machine
from ecgjax.workflows.doctor.findings import Finding, examined

LONGEST_TRIAL_S = 900
"""Seconds after which the trial counts as hanging; on two CPU cores it takes half a minute."""
STEPS = {
    "devices": "start of JAX",
    "bfloat16": "bfloat16",
    "data": "simulated data set",
    "training": "tiny training run",
    "embedding": "checkpoint and embedding",
}
"""Steps of the trial, as findings name them."""


def examine_installation() -> Iterator[Finding]:
    """Yields findings on packages, the machine and its devices, and tries the whole chain."""
    yield from examined("packages", installation.examine)
    yield from examined("machine", machine.examine)
    yield from examined("trial", _trial)


def examine_path(path: str, progress: Callable[[int, int], None]) -> Iterator[Finding]:
    """Yields findings on a prepared data set, a run or checkpoint, or raw files.

    Args:
      path: a file or folder, or the name of a shipped encoder.
      progress: called with the numbers of recordings done and in total.
    """
    if is_remote(path):
        remedy = "copy it to this machine and give the copy"
        yield Finding("PROBLEM", path, "a URL, which is not examined", remedy)
    else:
        yield from examined(path, lambda: _examine_path(Path(path).expanduser(), progress))


def _examine_path(path: Path, progress: Callable[[int, int], None]) -> Iterator[Finding]:
    # Imported late: packages must be examined before they are imported.
    from ecgjax.train.checkpoint import WEIGHTS
    from ecgjax.workflows.doctor import checkpoints, data_sets, raw_files

    shipped = WEIGHTS / path
    if not path.exists() and shipped.is_dir():
        path = shipped
    if not path.exists():
        remedy = "give a folder that is there (a relative one counts from this folder)"
        yield Finding("PROBLEM", str(path), "no such file or folder", remedy)
        return
    if path.is_dir():
        next(path.iterdir(), None)  # raises if it may not be listed
    prepared = data_sets.find(path)
    saved = checkpoints.find(path)
    for folder in prepared:
        yield from data_sets.examine(folder, progress)
    yield from data_sets.unfinished(path)
    for folder in saved:
        yield from checkpoints.examine(folder)
    if not prepared and not saved:
        yield from raw_files.examine(path)


def _trial() -> Iterator[Finding]:
    """Runs the trial in a process of its own, and yields what each step found."""
    results, end = _run_trial()
    for result in results:
        if "error" not in result and not result.get("begins"):
            yield from _success(result)
    last = results[-1] if results else {"step": "devices", "begins": True}
    name = STEPS[last["step"]]
    if "error" in last:
        remedy = "see the lines above"
        if last["step"] == "devices":
            remedy = "is the device in use by another process? JAX_PLATFORMS=cpu avoids it"
        yield Finding("PROBLEM", name, f"fails ({last['error']})", remedy)
    elif last.get("begins"):
        remedy = "reinstall jax and jaxlib, check the driver; JAX_PLATFORMS=cpu avoids a GPU or TPU"
        yield Finding("PROBLEM", name, end, remedy)


def _run_trial() -> tuple[list[dict[str, Any]], str]:
    """Returns the results of the steps, and how the process ended."""
    try:
        done = subprocess.run(
            accelerators.COMMAND,
            env=accelerators.environment(),
            capture_output=True,
            text=True,
            timeout=LONGEST_TRIAL_S,
            check=False,
        )
        output = done.stdout
        errors = done.stderr.strip().splitlines() or ["no message"]
        end = f"ends with status {done.returncode} ({errors[-1][:200]})"
        if done.returncode < 0:
            end = f"crashes ({signal.Signals(-done.returncode).name})"
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode()
        end = f"does not end within {LONGEST_TRIAL_S} s"
    results = []
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            results.append(json.loads(line))
    return results, end


def _success(result: dict[str, Any]) -> Iterator[Finding]:
    match result["step"]:
        case "devices":
            yield from accelerators.examine(result)
        case "bfloat16":
            yield _bfloat16(result["deviation"])
        case step:
            yield Finding("OK", STEPS[step], f"works ({result['seconds']:.1f} s)")


def _bfloat16(deviation: float) -> Finding:
    from ecgjax.workflows.pretrain import LARGEST_DEVIATION

    message = f"relative error {deviation:.2f}, up to {LARGEST_DEVIATION} is right"
    if deviation < LARGEST_DEVIATION:
        return Finding("OK", "bfloat16", message)
    remedy = "runs use float32, which is slower; another version of JAX or the driver may help"
    return Finding("PROBLEM", "bfloat16", message, remedy)
