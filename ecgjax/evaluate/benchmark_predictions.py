"""Predictions of the low-label benchmark: what every method says about every test recording.

Reports are made from these files, so that a new figure needs no new training.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import get_args

import numpy as np

from ecgjax.errors import InputError, first_line
from ecgjax.outputs import Kind
from ecgjax.whole_files import replaced

_ABOUT = ("task", "test", "labels", "kind", "classes", "is_complete")
_ARRAYS = ("recordings", "patients", "truth")


@dataclasses.dataclass(frozen=True, eq=False)
class BenchmarkPredictions:
    """Predictions of one task on one test by all methods, trained with one amount of labels."""

    task: str
    """Name of the task."""
    test: str
    """Split, or name of another data set."""
    labels: int
    """Number of labelled recordings that the methods were trained with."""
    kind: Kind
    """Kind of the targets: labels, classes or numbers."""
    classes: tuple[str, ...]
    """Name of each output."""
    is_complete: bool
    """True if the methods were trained with all recordings of the training split."""
    recordings: np.ndarray
    """Numbers of the recordings in the tested data set, int64 [recording]."""
    patients: np.ndarray
    """Patient of each recording; equal numbers mean the same patient, int64 [recording]."""
    truth: np.ndarray
    """Targets, with NaN where there is no label, float32 [recording, class]."""
    scores: dict[str, np.ndarray]
    """Predictions of each method, float32 [draw, recording, class]: probabilities of labels and
    classes, numbers in their own units. A draw is a set of labelled recordings to train with."""

    def __post_init__(self):
        shape = (len(self.recordings), len(self.classes))
        shapes = {stack.shape[1:] for stack in self.scores.values()} | {self.truth.shape}
        if self.kind not in get_args(Kind) or shapes != {shape} or len(self.patients) != shape[0]:
            given = f"{self.task}: {self.kind}, shapes {sorted(shapes)}, patients and recordings"
            raise InputError(f"{given} {len(self.patients)}: give one of each for {shape}")


def save(folder: Path, predicted: BenchmarkPredictions) -> Path:
    """Writes one file into a folder, which is made if need be, and returns it."""
    about = {name: getattr(predicted, name) for name in _ABOUT}
    arrays = {name: getattr(predicted, name) for name in _ARRAYS}
    arrays |= {f"scores/{method}": stack for method, stack in predicted.scores.items()}
    name = "-".join(map(file_name, (predicted.task, predicted.test, str(predicted.labels))))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.npz"
    with replaced(file) as unfinished:
        np.savez_compressed(unfinished, about=json.dumps(about), **arrays)
    return file


def load_all(folder: Path) -> list[BenchmarkPredictions]:
    """Reads the files that `save` wrote, in the order of tasks, tests and amounts of labels.

    Raises:
      InputError: there is none, or one is damaged.
    """
    # A killed benchmark leaves a file that begins with "unfinished-".
    files = sorted(file for file in folder.glob("*.npz") if not file.name.startswith("unfinished-"))
    if not files:
        raise InputError(f"{folder}: no predictions; give the folder of a finished benchmark")
    every = [_load(file) for file in files]
    return sorted(every, key=lambda each: (each.task, each.test, each.labels))


def _load(file: Path) -> BenchmarkPredictions:
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            about = json.loads(str(arrays["about"]))
            fields = {name: about[name] for name in _ABOUT}
            fields["classes"] = tuple(fields["classes"])
            fields |= {name: arrays[name] for name in _ARRAYS}
            methods = [key for key in arrays if key.startswith("scores/")]
            scores = {key.removeprefix("scores/"): arrays[key] for key in methods}
            return BenchmarkPredictions(**fields, scores=scores)
    except Exception as error:  # zipfile, zlib and NumPy raise half a dozen types
        problem = f"damaged, or of another version of ecgjax ({first_line(error)})"
        raise InputError(f"{file}: {problem}; delete it and run the benchmark again") from error


def file_name(name: str) -> str:
    """Returns a name as a part of the name of a file."""
    return re.sub(r"[^\w.+:-]", "_", name)
