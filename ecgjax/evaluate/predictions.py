"""What a run with labels said of every test recording: kept beside its figures, so that runs can be compared pairwise.

Two intervals that overlap do not say that two methods are alike: on the same recordings much of their uncertainty is
shared, and the interval of the difference is narrower than either.
"""

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.metrics import Bootstrap, patient_bootstrap
from ecgjax.signals import InputError

FILE = "predictions.npz"
SPLITS = ("validation", "test")


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

    def bootstrap(self, found: dict[str, np.ndarray]) -> Bootstrap:
        """AUROC (or Dice coefficients, of waves) of several methods' `found`, each [seed, *shape of truth]."""
        measure = dice_bootstrap if self.truth.dtype == np.uint8 else patient_bootstrap
        return measure(self.truth, found, self.patients)


def save(workdir: Path, about: dict, tested: dict[str, Predictions]) -> None:
    """Writes predictions.npz: `about` (metric, task, classes, data) and the splits."""
    arrays = {f"{split}/{name}": value for split, one in tested.items() for name, value in vars(one).items()}
    np.savez_compressed(workdir / FILE, about=json.dumps(about), **arrays)


def load(workdir: Path) -> tuple[dict, dict[str, Predictions]]:
    """What `save` wrote.

    Raises:
      InputError: there is no such file, or it is damaged.
    """
    file = workdir / FILE
    if not file.exists():
        raise InputError(f"{file}: no such file; give the workdir of a finished run of ecgjax.launch.finetune")
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            fields = [field.name for field in dataclasses.fields(Predictions)]
            splits = {split: Predictions(*(arrays[f"{split}/{name}"] for name in fields)) for split in SPLITS}
            return json.loads(str(arrays["about"])), splits
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: damaged ({error}); run ecgjax.launch.finetune in this workdir again") from error


def compare(ours: Sequence[Path], theirs: Sequence[Path], split: str) -> tuple[dict, Bootstrap]:
    """Runs of one method against runs of another, each with several seeds.

    Args:
      ours: workdirs of `finetune`.
      theirs: the same.
      split: "validation" or "test".

    Returns:
      What the runs have in common, and the bootstrap of "ours" and "theirs".

    Raises:
      InputError: two runs differ in task, data or test recordings.
    """
    runs = {path: load(path) for path in (*ours, *theirs)}
    (first, (about, tested)), *others = runs.items()
    for path, (other, of_other) in others:
        if other != about:
            key = next(key for key in about if about[key] != other[key])
            raise InputError(
                f"{path}: {key} is {other[key]}, in {first} it is {about[key]}; compare runs of one task and data set"
            )
        pairs = zip(vars(of_other[split]).items(), vars(tested[split]).values(), strict=True)
        if not all(np.array_equal(its, value) for (name, its), value in pairs if name != "found"):
            raise InputError(f"{path}: other {split} recordings than in {first}; use one data set")
    found = {
        name: np.stack([runs[path][1][split].found for path in paths])
        for name, paths in (("ours", ours), ("theirs", theirs))
    }
    return about, tested[split].bootstrap(found)
