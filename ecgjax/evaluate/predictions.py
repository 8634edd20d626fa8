"""Predictions of a fine-tuned model on every test recording, saved for paired comparisons of runs.

Two intervals that overlap do not say that two methods are alike. Both methods are tested on the
same recordings and share much of their uncertainty, so the confidence interval of the difference is
narrower than the interval of either method.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from ecgjax.outputs import Kind
from ecgjax.whole_files import replaced

FILE = "predictions.npz"
TESTED_SPLITS = ("validation", "test")
"""Splits that a model is not trained on."""
_STORED_KEYS = {"settings": "by", "predicted": "found"}
"""Keys in the file where they differ from the attributes: files of earlier versions have them."""


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """The task of a run, its data and its settings."""

    task: str
    classes: tuple[str, ...]
    metric: str
    """Name of the main metric: "AUROC", "R2" or "Dice"."""
    data: str
    """Name of the data set."""
    rate_hz: float | None
    """Sampling rate of the wave labels, in Hz (the encoder's input rate); None for other tasks."""
    settings: dict[str, Any]
    """Settings of the run without its seed, as `describe_run` returns them."""
    kind: Kind = "labels"
    """Kind of the targets; files of earlier versions have labels, or waves with the metric Dice."""


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Recordings of one split with their true and predicted classes."""

    recordings: np.ndarray
    """Numbers of the recordings in the data set, [recording]."""
    patients: np.ndarray
    """Patient of each recording; equal numbers mean the same patient, [recording]."""
    truth: np.ndarray
    """Targets, float32 [recording, output]; or the wave of each sample, uint8 [recording, time]."""
    predicted: np.ndarray
    """Probabilities, numbers, or the predicted wave of each sample; same shape as `truth`."""


def describe_run(settings: Any, *, encoder: str, start: str, labelled: int) -> dict[str, Any]:
    """Returns the settings of a run as a flat dict, without its seed.

    Args:
      settings: the method's settings, a dataclass. Nested names are joined: "optimizer.warmup".
      encoder: name of the encoder.
      start: fingerprint of the initial weights.
      labelled: number of labelled recordings.
    """
    run = {
        "method": type(settings).__name__,
        "labelled": labelled,
        "encoder": encoder,
        "start": start,
    }
    return run | _flatten(json.loads(json.dumps(dataclasses.asdict(settings))))


def _flatten(settings: dict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        elif name not in ("seed", "eval_every"):  # how often a run is watched changes nothing
            flat[prefix + name] = value
    return flat


def save(workdir: Path, description: RunDescription, predictions: dict[str, Predictions]) -> None:
    """Writes predictions.npz.

    Args:
      workdir: folder of the run.
      description: task, data and settings.
      predictions: predictions of each test: splits of the data set, and names of other data sets.
    """
    about = {_stored(name): value for name, value in vars(description).items()}
    arrays = {
        f"{split}/{_stored(name)}": value
        for split, prediction in predictions.items()
        for name, value in vars(prediction).items()
    }
    with replaced(workdir / FILE) as unfinished:
        np.savez_compressed(unfinished, about=json.dumps(about), **arrays)


def load(workdir: Path) -> tuple[RunDescription, dict[str, Predictions]]:
    """Reads the file that `save` wrote.

    Raises:
      InputError: the file is missing or damaged.
    """
    file = workdir / FILE
    if not file.exists():
        raise InputError(
            f"{file}: no such file; give the workdir of a finished run of ecgjax.launch.finetune"
        )
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            about = json.loads(str(arrays["about"]))
            about["classes"] = tuple(about["classes"])
            about.setdefault("kind", "labels")
            description = {name: about[_stored(name)] for name in _names(RunDescription)}
            tests = dict.fromkeys(key.rpartition("/")[0] for key in arrays if "/" in key)
            predictions = {
                test: Predictions(
                    *(arrays[f"{test}/{_stored(name)}"] for name in _names(Predictions))
                )
                for test in tests
            }
            return RunDescription(**description), predictions
    except Exception as error:  # zipfile, zlib and NumPy raise half a dozen types
        problem = f"damaged, or of another version of ecgjax ({type(error).__name__}: {error})"
        raise InputError(
            f"{file}: {problem}; run ecgjax.launch.finetune in this workdir again"
        ) from error


def _stored(name: str) -> str:
    return _STORED_KEYS.get(name, name)


def _names(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]
