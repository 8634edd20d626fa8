"""What a run with labels said of every test recording: kept beside its figures, so that runs can be compared pairwise.

Two intervals that overlap do not say that two methods are alike: on the same recordings much of their uncertainty is
shared, and the interval of the difference is narrower than either.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.metrics import Bootstrap, patient_bootstrap

FILE = "predictions.npz"
TESTED = ("validation", "test")
METRICS = {"AUROC": patient_bootstrap, "Dice": dice_bootstrap}


@dataclasses.dataclass(frozen=True)
class About:
    """What was predicted, and by whom."""

    task: str
    classes: tuple[str, ...]
    metric: str
    """One of `METRICS`."""
    data: str
    rate_hz: float | None
    """Of marks, which are as many as the encoder reads samples."""
    by: dict[str, Any]
    """The run, but for its seed: what two sides of a comparison may differ in; see `described`."""


def described(settings: Any, *, encoder: str, start: str, labelled: int) -> dict[str, Any]:
    """A run by names and values: the method, its settings ("optimizer.warmup") without the seed, and the rest."""
    flat: dict[str, Any] = {
        "method": type(settings).__name__,
        "labelled": labelled,
        "encoder": encoder,
        "start": start,
    }

    def add(values: dict, prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                add(value, f"{prefix}{name}.")
            elif name != "seed":
                flat[prefix + name] = value

    add(json.loads(json.dumps(dataclasses.asdict(settings))), "")
    return flat


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """A split's recordings, what is true of them, and what a run said of them."""

    recordings: np.ndarray
    """Their numbers in the data set, [recording]."""
    patients: np.ndarray
    """Equal numbers mean the same patient, [recording]."""
    truth: np.ndarray
    """0 or 1, float32 [recording, class]; or the wave of each sample, uint8 [recording, time]."""
    found: np.ndarray
    """The probability of each class, or the wave that was found at each sample; shaped like `truth`."""


def save(workdir: Path, about: About, tested: dict[str, Predictions]) -> None:
    """Writes predictions.npz."""
    arrays = {
        f"{split}/{name}": value
        for split, one in tested.items()
        for name, value in vars(one).items()
    }
    unfinished = workdir / f"unfinished-{FILE}"
    np.savez_compressed(unfinished, about=json.dumps(dataclasses.asdict(about)), **arrays)
    unfinished.replace(workdir / FILE)


def load(workdir: Path) -> tuple[About, dict[str, Predictions]]:
    """What `save` wrote.

    Raises:
      InputError: there is no such file, or it is damaged.
    """
    file = workdir / FILE
    if not file.exists():
        raise InputError(
            f"{file}: no such file; give the workdir of a finished run of ecgjax.launch.finetune"
        )
    fields = [field.name for field in dataclasses.fields(Predictions)]
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            about = json.loads(str(arrays["about"]))
            splits = {
                split: Predictions(*(arrays[f"{split}/{name}"] for name in fields))
                for split in TESTED
            }
            return About(**about | {"classes": tuple(about["classes"])}), splits
    except Exception as error:  # zipfile, zlib and NumPy raise half a dozen types
        problem = f"damaged, or of another version of ecgjax ({type(error).__name__}: {error})"
        raise InputError(
            f"{file}: {problem}; run ecgjax.launch.finetune in this workdir again"
        ) from error


def compare(
    runs: Sequence[Path], against: Sequence[Path], split: str
) -> tuple[About, About, Bootstrap]:
    """Runs of one method against runs of another, each with several seeds.

    Args:
      runs: workdirs of `finetune`.
      against: the same.
      split: "validation" or "test".

    Returns:
      What either side is about, and the bootstrap of "runs" and "against".

    Raises:
      InputError: a side is empty or a run is named twice; runs differ in task, data or test recordings, or those of one
        side in more than their seed.
    """
    sides = {"runs": runs, "against": against}
    for name, paths in sides.items():
        if not paths or len({path.resolve() for path in paths}) < len(paths):
            raise InputError(
                f"{' '.join([name, *map(str, paths)])}: give one workdir or more, each once"
            )
    loaded = {path: load(path) for path in (*runs, *against)}
    for paths in sides.values():
        for path in paths:
            _refuse_difference(path, _common(loaded[path][0]), runs[0], _common(loaded[runs[0]][0]))
            _refuse_difference(path, loaded[path][0].by, paths[0], loaded[paths[0]][0].by)
    if both := {path.resolve() for path in runs} & {path.resolve() for path in against}:
        raise InputError(
            f"{' '.join(map(str, both))}: on both sides; give the workdirs of two ways"
        )
    about, first = loaded[runs[0]][0], loaded[runs[0]][1][split]
    for path, (_, of) in loaded.items():
        for name in ("recordings", "patients", "truth"):
            if not np.array_equal(getattr(of[split], name), getattr(first, name)):
                raise InputError(
                    f"{path}: {name} of {split} differ from those in {runs[0]}; use one data set"
                )
    found = {
        name: np.stack([loaded[path][1][split].found for path in paths])
        for name, paths in sides.items()
    }
    return about, loaded[against[0]][0], METRICS[about.metric](first.truth, found, first.patients)


def _common(about: About) -> dict[str, Any]:
    return {name: value for name, value in vars(about).items() if name != "by"}


def _refuse_difference(
    path: Path, has: dict[str, Any], other: Path, wanted: dict[str, Any]
) -> None:
    for name in (*has, *wanted):
        if has.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: {name} is {has.get(name)}, in {other} it is {wanted.get(name)}; compare like with like"
            )
