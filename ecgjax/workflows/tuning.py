"""Tuning of the methods that train: one small grid for fine-tuning and for training from scratch.

A baseline with settings that suit another method proves nothing. Every method that trains therefore
has the same six settings to choose from, for each task and amount of labels:

  1. crops of 2.5, 5 and 10 s, at the learning rate and the steps that were given
  2. with the best of these crops: a quarter of the learning rate, a quarter of the steps, or both

Test recordings have no part in it. With `VALIDATED_FROM` labelled recordings or more, a setting is
measured on the validation split (`Benchmark.validated_from`); with fewer, and if the benchmark
tests on that split itself, by cross-validation over patients within the labelled recordings. The
first draw of labels decides for all draws, and with `Benchmark.tune_at` for further amounts of
labels, whose steps grow with them.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.adapt.finetune import FineTuning
from ecgjax.data.splits import divide, strata
from ecgjax.evaluate.low_label_table import read_csv, write_csv
from ecgjax.evaluate.scores import main_metric
from ecgjax.outputs import Kind
from ecgjax.train.runlog import console
from ecgjax.workflows.low_label import LabelledRecordings
from ecgjax.workflows.probing import Draw

CROPS_S = (2.5, 5.0, 10.0)
"""Lengths of crops in seconds that are compared first. The best is by task: first-degree AV block
with 100 labels prefers 2.5 s, premature beats 10 s (fold 9 of PTB-XL)."""
FACTORS = ((0.25, 1.0), (1.0, 0.25), (0.25, 0.25))
"""Factors of (learning rate, steps) that are compared at the best crop."""
VALIDATED_FROM = 2000
"""Number of labelled recordings from which on the validation split measures a setting."""
FOLDS = 3
"""Folds of the cross-validation."""
FILE = "tuning.csv"

Fit = Callable[[FineTuning, Draw, LabelledRecordings], np.ndarray]
"""Function that trains with a draw and returns predictions of other recordings,
[recording, output]."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of the grid."""

    crop_s: float
    """Length of crops in seconds."""
    rate: float = 1.0
    """Factor of the learning rate."""
    steps: float = 1.0
    """Factor of the number of steps."""

    def apply_to(self, finetuning: FineTuning) -> FineTuning:
        """Returns settings of training with this setting."""
        optimizer = finetuning.optimizer
        rate = self.rate * optimizer.learning_rate
        return dataclasses.replace(
            finetuning,
            optimizer=dataclasses.replace(optimizer, learning_rate=rate),
            augmentation=dataclasses.replace(finetuning.augmentation, crop_s=self.crop_s),
            epochs=self.steps * finetuning.epochs,
            min_steps=max(1, round(self.steps * finetuning.min_steps)),
        )


class Tuning:
    """The choices of a benchmark. They are kept in tuning.csv, so that none is made twice.

    Args:
      out: folder of the results.
    """

    def __init__(self, out: Path):
        self._file = out / FILE
        self._rows = read_csv(self._file) if self._file.exists() else []

    def choose(
        self,
        about: Mapping[str, Any],
        key: Sequence[Any],
        default: FineTuning,
        longest_s: float,
        measure: Callable[[FineTuning], float],
    ) -> FineTuning:
        """Returns the settings that measure best, of equal ones the first.

        Args:
          about: task, labels and method, for the file.
          key: all that a measurement depends on besides the setting, as JSON takes it.
          default: settings of training that the grid starts from.
          longest_s: length of the encoder's input; longer crops are no other setting.
          measure: function that trains with settings and returns a figure, higher is better.
        """
        # Every setting has a length of crops of its own; that of the default does not matter.
        same = Setting(CROPS_S[0]).apply_to(default)
        digest = hashlib.sha256(json.dumps([*key, dataclasses.asdict(same)]).encode())
        about = {**about, "key": digest.hexdigest()[:16]}

        def measured(setting: Setting) -> float:
            row = {**about, **dataclasses.asdict(setting)}
            found = self._find(row)
            if found is None:
                row["score"] = measure(setting.apply_to(default))
                self._rows.append({name: str(value) for name, value in row.items()})
                write_csv(self._file, self._rows)
                found = self._rows[-1]
            return float(found["score"])

        crops = [crop for crop in CROPS_S if crop <= longest_s] or [longest_s]
        best = max(map(Setting, crops), key=measured)
        others = [Setting(best.crop_s, rate, steps) for rate, steps in FACTORS]
        best = max([best, *others], key=measured)
        line = f"{about['task']} {about['labels']} {about['method']}: crops of {best.crop_s:g} s"
        console.print(f"{line}, {best.rate:g} x learning rate, {best.steps:g} x steps")
        return best.apply_to(default)

    def _find(self, row: Mapping[str, Any]) -> dict | None:
        for each in self._rows:
            if all(each.get(name) == str(value) for name, value in row.items()):
                # A damaged line counts as none.
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    float(each["score"])
                    return each
        return None


def measurements(
    draw: Draw,
    train: LabelledRecordings,
    validation: LabelledRecordings | None,
    validated_from: int = VALIDATED_FROM,
) -> Iterator[tuple[Draw, LabelledRecordings]]:
    """Yields the recordings to train on and to measure with.

    Args:
      draw: the labelled recordings.
      train: the recordings that they were drawn from.
      validation: the validation split, None if there is none or if it is tested.
      validated_from: number of labelled recordings from which on it is used.
    """
    if validation is not None and len(draw.indices) >= validated_from:
        yield draw, validation
        return
    labelled = dataclasses.replace(train, indices=draw.indices, targets=draw.targets)
    kind = draw.outputs.kind
    number = len(draw.indices)
    groups = np.zeros(number, int) if kind == "numbers" else strata(np.equal(draw.targets, 1))
    folds = divide(train.records, draw.indices, groups, FOLDS)[draw.indices]
    for fold in range(FOLDS):
        fitted = folds != fold
        targets = draw.targets[fitted]
        outputs = draw.outputs.fitted(targets)
        part = Draw(draw.indices[fitted], targets, draw.patients[fitted], draw.seed, outputs)
        yield part, labelled.take(~fitted)


def mean_score(
    fit: Fit, settings: FineTuning, kind: Kind, parts: Sequence[tuple[Draw, LabelledRecordings]]
) -> float:
    """Returns the main metric of settings: the mean over outputs, then over parts.

    Args:
      fit: the training.
      settings: its settings.
      kind: kind of the targets.
      parts: the result of `measurements`.
    """
    values = []
    for draw, tested in parts:
        each = main_metric(kind, tested.targets, fit(settings, draw, tested))
        if not np.isnan(each).all():
            values.append(np.nanmean(each))
    return float(np.mean(values)) if values else float("-inf")
