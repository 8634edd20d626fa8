"""The two kinds of target that `finetune` trains: conditions of recordings, and waves at samples.

Both kinds have the same attributes and methods. `TARGETS` lists what can be chosen as --task.
"""

import dataclasses
from pathlib import Path

import numpy as np

from ecgjax.adapt.parts.classifier import Adapted, predict
from ecgjax.adapt.parts.segmenter import read_wave_labels, segment
from ecgjax.data.records import Records
from ecgjax.evaluate import wave_sheet
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.metrics import Bootstrap, Interval, patient_bootstrap
from ecgjax.evaluate.predictions import Predictions
from ecgjax.evaluate.tasks import TASKS, Task
from ecgjax.pretrained import Encoder
from ecgjax.signals import WAVES
from ecgjax.workflows.low_label import draw_labelled, task_recordings

EXAMPLES = 3
"""Number of test recordings in waves.png."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Conditions of a task, present or absent in a whole recording; tested by AUROC."""

    task: Task

    metric = "AUROC"
    default_encoder = "compact_resnet"
    """Architecture to train from random weights by default."""
    per_sample = False
    """True if each sample has a target, not the recording as a whole."""
    adjective = "labelled"
    """Word for recordings with targets, on the screen."""
    name_width = 16
    """Width of the first column of the printed table."""
    outputs = {"classifier": "checkpoints", "figures": "metrics.json"}
    """Files of the workdir to print at the end, by title."""

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def heading(self) -> str:
        """Heading of the printed table."""
        return f"{self.metric}, {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the model."""
        return tuple(self.task.classes)

    @property
    def tested_classes(self) -> tuple[str, ...]:
        """Classes with test results."""
        return self.classes

    def recordings(self, records: Records, split: str) -> np.ndarray:
        """Returns a split's recordings that belong to the task.

        Raises:
          InputError: a class has no positive or no negative recording among them.
        """
        indices, _ = task_recordings(records, self.task, split)
        return indices

    def draw(self, records: Records, indices: np.ndarray, count: int, *, seed: int) -> np.ndarray:
        """Draws `count` of the recordings, for a single condition half of them cases."""
        drawn = draw_labelled(
            self.truth(records, indices),
            records.patients[indices],
            count,
            seed=seed,
            balanced=self.task.is_single,
        )
        return indices[drawn]

    def truth(
        self, records: Records, indices: np.ndarray, rate_hz: float | None = None
    ) -> np.ndarray:
        """Returns 0 or 1 for each class, float32 [recording, class]; the rate does not matter."""
        targets, _ = self.task.targets(records.labels(indices))
        return targets

    def predict(
        self, adapted: Adapted, encoder: Encoder, records: Records, indices: np.ndarray
    ) -> np.ndarray:
        """Returns the probability of each class, float32 [recording, class]."""
        return predict(adapted, encoder, records, indices)

    def results(self, predictions: Predictions) -> dict:
        """Returns AUROC with confidence intervals, for metrics.json."""
        model = {"model": predictions.predicted}
        bootstrap = patient_bootstrap(predictions.truth, model, predictions.patients)
        by_class = _results_by_class(self.tested_classes, bootstrap)
        return {"macro_auroc": _as_list(bootstrap.macro("model")), "auroc": by_class}

    def table_rows(self, results: dict) -> dict[str, list[float]]:
        """Returns the rows of the printed table; a single condition has no macro mean."""
        macro = {} if self.task.is_single else {"macro": results["macro_auroc"]}
        return macro | results["auroc"]

    def plot_examples(
        self, records: Records, test: Predictions, workdir: Path, *, rate_hz: float
    ) -> None:
        """Plots nothing: a condition belongs to a recording as a whole."""


@dataclasses.dataclass(frozen=True)
class Waves:
    """The wave at each sample (P, QRS, T or none); tested by Dice coefficients."""

    name = "waves"
    classes = WAVES
    tested_classes = WAVES[1:]
    metric = "Dice"
    default_encoder = "unet1d"
    per_sample = True
    heading = "Dice"
    adjective = "marked"
    name_width = 8
    outputs = {"segmenter": "checkpoints", "examples": "waves.png"}

    def recordings(self, records: Records, split: str) -> np.ndarray:
        """Returns all recordings of a split."""
        return records.split(split)

    def draw(self, records: Records, indices: np.ndarray, count: int, *, seed: int) -> np.ndarray:
        """Draws `count` of the recordings, of as many patients as possible.

        A person who marks waves by hand would choose recordings of different patients, too.
        """
        no_targets = np.zeros((len(indices), 1), np.float32)
        patients = records.patients[indices]
        return indices[draw_labelled(no_targets, patients, count, seed=seed, spread=True)]

    def truth(self, records: Records, indices: np.ndarray, rate_hz: float) -> np.ndarray:
        """Returns the class of each sample at `rate_hz`, uint8 [recording, time]."""
        return read_wave_labels(records, indices, rate_hz)

    def predict(
        self, adapted: Adapted, encoder: Encoder, records: Records, indices: np.ndarray
    ) -> np.ndarray:
        """Returns the most probable class of each sample, uint8 [recording, time]."""
        return segment(adapted, encoder, records, indices)

    def results(self, predictions: Predictions) -> dict:
        """Returns Dice coefficients with confidence intervals, for metrics.json."""
        model = {"model": predictions.predicted}
        bootstrap = dice_bootstrap(predictions.truth, model, predictions.patients)
        by_class = _results_by_class(self.tested_classes, bootstrap)
        return {"dice": by_class | {"mean": _as_list(bootstrap.macro("model"))}}

    def table_rows(self, results: dict) -> dict[str, list[float]]:
        """Returns the rows of the printed table."""
        return results["dice"]

    def plot_examples(
        self, records: Records, test: Predictions, workdir: Path, *, rate_hz: float
    ) -> None:
        """Plots true and predicted waves of a few test recordings to waves.png."""
        number = len(test.recordings)
        shown = np.linspace(0, number - 1, min(EXAMPLES, number)).astype(int)
        wave_sheet.draw(
            records.read(test.recordings[shown]),
            test.truth[shown],
            test.predicted[shown],
            workdir / "waves.png",
            signal_hz=records.rate_hz,
            labels_hz=rate_hz,
        )


Target = Conditions | Waves

TARGETS: dict[str, Target] = {name: Conditions(task) for name, task in TASKS.items()}
TARGETS[Waves.name] = Waves()


def _results_by_class(classes: tuple[str, ...], bootstrap: Bootstrap) -> dict[str, list[float]]:
    intervals = bootstrap.per_class("model")
    return {name: _as_list(each) for name, each in zip(classes, intervals, strict=True)}


def _as_list(interval: Interval) -> list[float]:
    """Returns an interval as in metrics.json: value, lower and upper bound."""
    return [round(float(part), 4) for part in (interval.value, interval.low, interval.high)]
