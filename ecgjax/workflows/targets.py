"""The two kinds of target that `finetune` trains: those of recordings, here, and `Waves`.

Both kinds have the same attributes and methods. `TARGETS` lists what can be chosen as --task.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ecgjax.adapt.parts.classifier import Adapted, trained_model
from ecgjax.adapt.parts.training import Labelled
from ecgjax.classifier import Classifier
from ecgjax.data.records import Records
from ecgjax.evaluate.predictions import Predictions
from ecgjax.evaluate.regression import NUMBER_METRICS
from ecgjax.evaluate.scores import (
    BALANCED_ACCURACY,
    MAIN_METRIC,
    RECALL,
    as_list,
    measure,
    results_by_class,
    threshold_figures,
    youden_thresholds,
)
from ecgjax.evaluate.tasks import TASKS, NamedTask, Task
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.workflows.low_label import (
    LabelledRecordings,
    Labels,
    draw_labelled,
    require_variety,
    task_recordings,
)
from ecgjax.workflows.waves import Waves

MEANS = {"AUROC": "macro_auroc", RECALL: "balanced_accuracy"}
"""Names in metrics.json of means over classes, by the metric."""


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Labels, classes or numbers of whole recordings."""

    task: Task

    default_encoder = "compact_resnet"
    """Architecture to train from random weights by default."""
    per_sample = False
    """True if each sample has a target, not the recording as a whole."""
    adjective = "labelled"
    """Word for recordings with targets, on the screen."""
    name_width = 16
    """Width of the first column of the printed table."""
    printed_files = {"classifier": "model", "figures": "metrics.json"}
    """Files of the workdir to print at the end, by title."""

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def is_named(self) -> bool:
        """True if the name says which recordings have which targets, in every data set."""
        return isinstance(self.task, NamedTask)

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return MAIN_METRIC[self.outputs.kind]

    @property
    def heading(self) -> str:
        """Heading of the printed table."""
        return f"{self.metric}, {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the model."""
        return self.task.outputs.names

    @property
    def tested_classes(self) -> tuple[str, ...]:
        """Classes with test results."""
        return self.classes

    def select(self, records: Records, indices: np.ndarray, rate_hz: float) -> LabelledRecordings:
        """Returns those of the recordings that belong to the task; the rate does not matter."""
        return task_recordings(records, self.task, indices)

    def draw(
        self,
        records: Records,
        indices: np.ndarray,
        labels: Labels,
        *,
        seed: int,
        rate_hz: float,
    ) -> LabelledRecordings:
        """Draws some of the recordings, for a single condition half of them cases.

        Raises:
          InputError: there are too few, or none to tell from the others.
        """
        available = task_recordings(records, self.task, indices)
        require_variety(available, self.task)
        drawn = draw_labelled(
            available.targets,
            available.patients,
            labels.number(len(available.indices)),
            seed=seed,
            balanced=self.task.is_single,
        )
        labelled = available.take(drawn)
        if len(drawn) < len(available.indices):
            require_variety(labelled, self.task)
        return labelled

    @property
    def outputs(self) -> Outputs:
        """Outputs of the head."""
        return self.task.outputs

    def trained(
        self, adapted: Adapted, encoder: Encoder, labelled: Labelled, config: dict
    ) -> Classifier:
        """Returns the trained model; its `predict_records` gives the probability of each class."""
        return trained_model(adapted, encoder, labelled, config)

    def results(self, predictions: Predictions, rate_hz: float) -> dict:
        """Returns figures with intervals for metrics.json; the rate does not matter."""
        model = {"model": predictions.predicted}
        measured = measure(self.outputs.kind, predictions.truth, model, predictions.patients)
        results: dict = {}
        for metric, bootstrap in measured.items():
            if mean := MEANS.get(metric):
                results[mean] = as_list(bootstrap.macro("model"))
            by_class = results_by_class(self.tested_classes, bootstrap)
            results[metric.lower().replace(" ", "_")] = by_class
        return results

    def table_rows(self, results: dict) -> dict[str, list[float]]:
        """Returns the rows of the printed table; a single condition has no mean."""
        if self.outputs.kind == "numbers":
            several = len(self.outputs) > 1
            return {
                f"{name} {metric}" if several else metric: results[
                    metric.lower().replace(" ", "_")
                ][name]
                for name in self.classes
                for metric in NUMBER_METRICS
            }
        macro = {} if self.task.is_single else {"macro": results["macro_auroc"]}
        rows = macro | results["auroc"]
        if self.outputs.kind == "classes":
            rows[BALANCED_ACCURACY] = results["balanced_accuracy"]
        return rows

    def details(self, test: str, results: dict) -> list[str]:
        """Returns no further lines: the table has all figures."""
        return []

    def with_thresholds(self, model: Classifier, validation: Predictions | None) -> Classifier:
        """Returns the model with thresholds of labels that are chosen on validation recordings."""
        if self.outputs.kind != "labels" or validation is None:
            return model
        thresholds = youden_thresholds(validation.truth, validation.predicted)
        return dataclasses.replace(
            model, outputs=dataclasses.replace(model.outputs, thresholds=thresholds)
        )

    def threshold_figures(
        self, model: Classifier, tests: Mapping[str, Predictions]
    ) -> dict[str, dict]:
        """Returns the threshold of each label, with sensitivity and specificity in each test."""
        pairs = {name: (test.truth, test.predicted) for name, test in tests.items()}
        outputs = model.outputs
        if not outputs.thresholds:
            return {}
        return {"thresholds": threshold_figures(outputs.names, outputs.thresholds, pairs)}

    def plot_examples(
        self, records: Records, test: Predictions, workdir: Path, *, rate_hz: float
    ) -> None:
        """Plots nothing: a condition belongs to a recording as a whole."""


Target = Conditions | Waves

TARGETS: dict[str, Target] = {name: Conditions(task) for name, task in TASKS.items()}
TARGETS[Waves.name] = Waves()
