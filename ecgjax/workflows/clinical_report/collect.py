"""Studies from the predictions of a benchmark and the data sets that it was run on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions, load_all
from ecgjax.evaluate.tasks import Task
from ecgjax.pretrained import Encoder
from ecgjax.train.runlog import console
from ecgjax.workflows.clinical_report.study import People, Study, Training
from ecgjax.workflows.cohort import Cohort, Site, divisions, open_sites
from ecgjax.workflows.low_label import LabelledRecordings, task_recordings
from ecgjax.workflows.low_label_methods import Benchmark, TaskData
from ecgjax.workflows.targets import Conditions

FOLDER = "predictions"
"""Folder of the predictions in that of the benchmark."""


class Collector:
    """Finds the predictions of each task, with their people and the labels they were made with."""

    def __init__(
        self, settings: Benchmark, encoder: Encoder, records: Records, cohort: Cohort, out: Path
    ):
        """Reads the predictions and opens the data sets.

        Raises:
          InputError: there are no predictions, or a file or data set is damaged.
        """
        self._settings = settings
        self._rate_hz = encoder.preprocessing.rate_hz
        self._records = records
        self._cohort = cohort
        self._folder = out / FOLDER
        self._predicted = load_all(self._folder)
        self._sites = open_sites(cohort, records, encoder.preprocessing)

    def studies(self, tasks: Sequence[Task]) -> Iterator[Study]:
        """Yields a study for each task and test; tasks that are numbers are left out with a line.

        Raises:
          InputError: predictions are of other recordings than the data sets have.
        """
        for task in tasks:
            if task.outputs.kind == "numbers":
                console.print(f"{task.name}: a number, which the clinical report leaves out")
                continue
            splits = divisions(self._cohort, self._records, Conditions(task), self._rate_hz)[0]
            train = task_recordings(self._records, task, splits.indices("train"))
            own = Site(self._settings.split, self._records, splits.indices(self._settings.split))
            for site in (own, *self._sites):
                if amounts := self._amounts(task, train, site):
                    yield self._study(task, train, site, amounts)

    def _amounts(
        self, task: Task, train: LabelledRecordings, site: Site
    ) -> tuple[BenchmarkPredictions, ...]:
        """Returns predictions with each amount of labels, ascending; the folder may hold others."""
        counts = TaskData(task, train, [], False, self._settings.draw).counts(self._settings.labels)
        found = [
            each
            for each in self._predicted
            if (each.task, each.test) == (task.name, site.name) and each.labels in counts
        ]
        for each in found:
            self._check(each, found[0], site)
        return tuple(sorted(found, key=lambda each: each.labels))

    def _check(
        self, predicted: BenchmarkPredictions, first: BenchmarkPredictions, site: Site
    ) -> None:
        """Refuses predictions that are not of the recordings that the data set holds."""
        rows = predicted.recordings
        same = np.array_equal(rows, first.recordings) and rows.max() < len(site.records)
        if not (same and np.array_equal(site.records.patients[rows], predicted.patients)):
            problem = f"predictions of {predicted.task} are not of the recordings of {site.name}"
            raise InputError(f"{self._folder}: {problem}; delete it and run the benchmark again")

    def _study(
        self,
        task: Task,
        train: LabelledRecordings,
        site: Site,
        amounts: tuple[BenchmarkPredictions, ...],
    ) -> Study:
        rows = amounts[-1].recordings
        available = task_recordings(site.records, task, site.indices)
        return Study(
            task.description,
            amounts,
            _training(train, is_balanced=task.is_single and self._settings.draw == "patients"),
            site.records,
            People.read(site.records, rows),
            len(available.indices) - len(rows),
        )


def _training(train: LabelledRecordings, *, is_balanced: bool) -> Training:
    return Training(
        len(train.indices),
        len(np.unique(train.patients)),
        (train.targets == 1).sum(axis=0),
        (~np.isnan(train.targets)).sum(axis=0),
        is_balanced,
    )
