"""One training with labels and its tests, from drawn recordings to predictions and figures."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.adapt import Method
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.classifier import Classifier, load
from ecgjax.data.records import SPLITS, Records
from ecgjax.data.splits import Splits
from ecgjax.evaluate import plots, predictions
from ecgjax.evaluate.predictions import Predictions, RunDescription, describe_run
from ecgjax.pretrained import Encoder
from ecgjax.train.checkpoint import find_checkpoint, read_config
from ecgjax.train.manifest import encoder_config
from ecgjax.train.origin import inherited
from ecgjax.train.runlog import read_metrics
from ecgjax.whole_files import replace_text
from ecgjax.workflows.cohort import HeldOut, data_names
from ecgjax.workflows.low_label import LabelledRecordings, Labels, training_set
from ecgjax.workflows.targets import Target, Waves
from ecgjax.workflows.validation import Validation


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Method, target and encoder of a training."""

    settings: Method
    target: Target
    encoder: Encoder
    """The encoder that training starts from."""
    encoder_name: str
    """Name of its architecture."""
    labels: Labels
    """Number of labelled recordings to train on."""

    @property
    def rate_hz(self) -> float:
        """Sampling rate of the encoder, in Hz."""
        return self.encoder.preprocessing.rate_hz

    def run(self, labelled: Labelled, tests: Sequence[HeldOut], workdir: Path) -> dict[str, Any]:
        """Trains and tests; resumes what was stopped in the workdir.

        Writes checkpoints, model, metrics.json, predictions.npz and plots.

        Args:
          labelled: the recordings to train on, see `draw`.
          tests: the recordings to test on.
          workdir: folder of the run.

        Returns:
          The content of metrics.json.
        """
        records = labelled.records
        validation = self._validation(labelled, tests, workdir)
        model = self.train(labelled, workdir, validation)
        tested = {test.name: self.predict(model, test.labelled) for test in tests}
        thresholds = self.save(model, tested.get("validation"), tested, workdir)
        count = len(labelled.indices)
        predictions.save(workdir, self.describe(records.name, count), tested)
        figures = {test.name: self.results(tested[test.name], test.excluded) for test in tests}
        results = self.summary(records.name, count) | arrange(figures) | thresholds
        if validation:
            results |= validation.results(workdir)
            self._complete_best(validation.held_out, workdir / "best")
        write_results(results, workdir)
        plot_loss(workdir)
        if "test" in tested:
            self.plot_examples(records, tested["test"], workdir)
        return results

    def save(
        self,
        model: Any,
        validation: Predictions | None,
        tested: Mapping[str, Predictions],
        workdir: Path,
    ) -> dict[str, Any]:
        """Saves a classifier with the thresholds of its labels.

        Args:
          model: the trained model; a segmenter is not saved.
          validation: predictions by which thresholds are chosen.
          tested: predictions of all tests.
          workdir: folder of the run.

        Returns:
          The thresholds for metrics.json.
        """
        if not isinstance(model, Classifier) or isinstance(self.target, Waves):
            return {}
        model = self.target.with_thresholds(model, validation)
        model.save(workdir / "model")
        return self.target.threshold_figures(model, tested)

    def _complete_best(self, held_out: LabelledRecordings, folder: Path) -> None:
        """Gives the model of the best step its own thresholds, chosen on the validation split."""
        if isinstance(self.target, Waves) or self.target.outputs.kind != "labels":
            return
        if folder.exists():
            model: Any = load(folder)
            self.target.with_thresholds(model, self.predict(model, held_out)).save(folder)

    def draw(self, splits: Splits) -> Labelled:
        """Draws the recordings to train on from a training split."""
        pool = splits.indices("train")
        drawn = self.target.draw(
            splits.records, pool, self.labels, seed=self.settings.seed, rate_hz=self.rate_hz
        )
        outputs = self.target.outputs.fitted(drawn.targets)
        own_pool = None if splits.parts is None else pool
        return Labelled(splits.records, drawn.indices, drawn.targets, outputs, own_pool)

    def train(self, labelled: Labelled, workdir: Path, validation: Validation | None = None) -> Any:
        """Trains on labelled recordings and returns the model."""
        count = len(labelled.indices)
        config = self._config(labelled)
        title = f"{self.target.name}, {count} {self.target.adjective}"
        run = Run(workdir, config, title, watch=validation and validation.watch())
        adapted = self.settings.adapt(self.encoder, labelled, run)
        history = {"start_data": data_names(self.encoder.config), **inherited(self.encoder.config)}
        # The method has added its settings to the config that it saved.
        saved = read_config(find_checkpoint(workdir / "checkpoints"))
        return self.target.trained(adapted, self.encoder, labelled, saved | history)

    def _validation(
        self, labelled: Labelled, tests: Sequence[HeldOut], workdir: Path
    ) -> Validation | None:
        """Returns the validation during training, None without validation recordings."""
        held_out = next((test.labelled for test in tests if test.name == "validation"), None)
        if held_out is None or not len(held_out.indices):
            return None
        config = self._config(labelled)
        config |= {"start_data": data_names(self.encoder.config), **inherited(self.encoder.config)}
        parts = (self.settings, self.target, self.encoder, labelled, held_out, config)
        return Validation(*parts, folder=workdir / "best")

    def predict(self, model: Any, labelled: LabelledRecordings) -> Predictions:
        """Returns the predictions of a trained model."""
        predicted = model.predict_records(labelled.records, labelled.indices)
        return Predictions(labelled.indices, labelled.patients, labelled.targets, predicted)

    def results(self, predicted: Predictions, excluded: int = 0) -> dict[str, Any]:
        """Returns the figures of one test for metrics.json.

        Args:
          predicted: predictions of the test.
          excluded: number of recordings that were left out since they had been seen.
        """
        counts: dict[str, Any] = {
            "recordings": len(predicted.recordings),
            "patients": len(np.unique(predicted.patients)),
        }
        outputs = self.target.outputs
        if outputs.kind != "numbers" and not self.target.per_sample:
            cases = (predicted.truth == 1).sum(0).tolist()
            counts["cases"] = dict(zip(outputs.names, cases, strict=True))
        if excluded:
            counts["excluded"] = excluded
        return {**counts, **self.target.results(predicted, self.rate_hz)}

    def summary(self, data: str, count: int) -> dict[str, Any]:
        """Returns the first entries of metrics.json: task, data set, labelled recordings."""
        return {"task": self.target.name, "data": data, "labelled": count}

    def plot_examples(self, records: Records, test: Predictions, workdir: Path) -> None:
        """Plots examples of a test if the target has any."""
        self.target.plot_examples(records, test, workdir, rate_hz=self.rate_hz)

    def describe(self, data: str, count: int, **others: Any) -> RunDescription:
        """Returns the task, the data and the settings of the run, for comparisons.

        Args:
          data: name of the data set.
          count: number of labelled recordings.
          others: further settings.
        """
        target = self.target
        settings = describe_run(
            self.settings, encoder=self.encoder_name, start=self.encoder.fingerprint, labelled=count
        )
        return RunDescription(
            target.name,
            target.tested_classes,
            target.metric,
            data,
            self.rate_hz if target.per_sample else None,
            settings | others,
            target.outputs.kind,
        )

    def _config(self, labelled: Labelled) -> dict[str, Any]:
        """Returns the config of a run's checkpoints; the method adds its settings."""
        encoder = self.encoder
        target = self.target
        own = {}
        if labelled.pool is not None or not target.is_named:
            own = training_set(labelled.indices, labelled.targets)
        return {
            **encoder_config(self.encoder_name, encoder.module, encoder.preprocessing),
            "classes": list(target.classes),
            "task": target.name,
            "data": labelled.records.name,
            "labelled": len(labelled.indices),
            "start": encoder.config.get("pretraining", "random weights"),
            **own,
        }


def arrange(figures: Mapping[str, dict]) -> dict[str, Any]:
    """Returns the figures of each test as in metrics.json: own splits by name, then the sites."""
    own = {name: values for name, values in figures.items() if name in SPLITS}
    sites = {name: values for name, values in figures.items() if name not in SPLITS}
    return own | ({"sites": sites} if sites else {})


def write_results(results: Mapping[str, Any], workdir: Path) -> None:
    """Writes metrics.json; a figure that is not defined is null."""
    text = json.dumps(_without_nan(results), indent=1, allow_nan=False)
    replace_text(workdir / "metrics.json", text)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plot_loss(workdir: Path) -> None:
    """Plots the loss to loss.png if the method trains step by step."""
    lines = [line for line in read_metrics(workdir) if line.get("loss") is not None]
    if lines:
        steps = [line["step"] for line in lines]
        plots.loss_curve(steps, [line["loss"] for line in lines], workdir / "loss.png")
