"""The low-label benchmark: an encoder with few labelled recordings, against baselines.

For every task, number of labels and seed, recordings of the training split are drawn. All methods
see the same draw:

  frozen       logistic regression on the embeddings of the pre-trained encoder
  random       logistic regression on the embeddings of the same encoder with initial weights
  finetuned    encoder and head trained together, from the pre-trained weights
  scratch      encoder and head trained together, from initial weights

All methods are tested on the same split. Confidence intervals come from resampling its patients;
differences between methods are paired.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit

from ecgjax.data.records import Records
from ecgjax.data.splits import Splits
from ecgjax.errors import InputError
from ecgjax.evaluate.benchmark_predictions import BenchmarkPredictions, save
from ecgjax.evaluate.low_label_table import Result, Row, write_csv
from ecgjax.evaluate.tasks import NamedTask, Task
from ecgjax.preprocessing import absent_leads_note
from ecgjax.pretrained import Encoder
from ecgjax.train.origin import unknown_past
from ecgjax.train.runlog import console
from ecgjax.whole_files import replace_text
from ecgjax.workflows.cohort import (
    PUBLISHED,
    Cohort,
    HeldOut,
    Tests,
    divisions,
    open_sites,
    require_testable,
)
from ecgjax.workflows.low_label import LabelledRecordings, require_variety, task_recordings
from ecgjax.workflows.low_label_methods import PROBED, Benchmark, Methods
from ecgjax.workflows.targets import Conditions
from ecgjax.workflows.task_data import TaskData


def benchmark(
    settings: Benchmark,
    encoder: Encoder,
    records: Records,
    tasks: Sequence[Task],
    out: Path,
    *,
    cohort: Cohort = PUBLISHED,
) -> list[Row]:
    """Compares an encoder with its baselines; writes benchmark.csv and the other tables.

    Args:
      settings: methods and amounts of labels.
      encoder: the pre-trained encoder.
      records: a prepared data set.
      tasks: the tasks to predict.
      out: folder of the results. It keeps trained encoders, so that none is trained twice.
      cohort: splits of one's own, and other data sets to test on.

    Raises:
      InputError: the encoder was trained on test recordings, splits share patients, or no task has
        enough labelled recordings.
    """
    if note := absent_leads_note(encoder.preprocessing, records.leads, records.name):
        console.print(note)
    if warning := unknown_past(encoder.config):
        console.print(warning)
    every_task = _every_task(settings, encoder, records, tasks, cohort)
    for data in every_task:
        _check_amounts(settings, data)
    out.mkdir(parents=True, exist_ok=True)
    _warn_if_none_is_trained(settings, every_task)
    methods = Methods(settings, encoder, every_task, out)
    results = _Results(out)
    for data in every_task:
        for count in data.counts(settings.labels):
            if count > len(data.train.indices):
                available = f"{len(data.train.indices)} labelled recordings"
                console.print(f"{data.task.name}: {available}, {count} wanted; left out")
                continue
            for test, scores in zip(data.tests, methods.scores(data, count), strict=True):
                results.add(data, count, test, scores)
            results.write()
    if not results.rows:
        problem = "no task has as many labelled recordings as wanted"
        raise InputError(f"{records.path}: {problem}; lower --labels")
    text = json.dumps(dataclasses.asdict(settings), indent=1, default=str)
    replace_text(out / "settings.json", text)
    return results.rows


def _check_amounts(settings: Benchmark, data: TaskData) -> None:
    """Refuses a bad share, and amounts to tune at that a task does not have."""
    data.counts((*settings.labels, *settings.train_at))
    available = len(data.train.indices)
    for text, count in zip(settings.tune_at, data.counts(settings.tune_at), strict=True):
        if count > available:
            problem = f"{data.task.name} has {available} labelled recordings"
            raise InputError(f"--tune-at {text}: {problem}; lower it")


class _Results:
    """Rows of all results so far. Predictions are saved as they come."""

    def __init__(self, out: Path):
        self.rows: list[Row] = []
        self._per_seed: list[dict] = []
        self._per_class: list[dict] = []
        self._out = out

    def add(self, data: TaskData, count: int, test: HeldOut, scores: dict[str, np.ndarray]) -> None:
        """Measures, prints and saves the scores of all methods, [draw, recording, class]."""
        labelled = test.labelled
        parts = (labelled.targets, labelled.patients, scores)
        result = Result.measure(data.task, count, test.name, *parts)
        for row in result.rows():
            self.rows.append(row)
            console.print(str(row))
        self._per_seed += result.seed_rows()
        self._per_class += result.class_rows()
        save(self._out / "predictions", _predictions(data, count, test, scores))

    def write(self) -> None:
        """Writes all rows: the last minute's failure does not lose hours of work."""
        write_csv(self._out / "benchmark.csv", [dataclasses.asdict(row) for row in self.rows])
        write_csv(self._out / "per_seed.csv", self._per_seed)
        write_csv(self._out / "per_class.csv", self._per_class)


def _predictions(
    data: TaskData, count: int, test: HeldOut, scores: dict[str, np.ndarray]
) -> BenchmarkPredictions:
    outputs = data.task.outputs
    labelled = test.labelled
    is_odds = outputs.kind == "labels"
    return BenchmarkPredictions(
        data.task.name,
        test.name,
        count,
        outputs.kind,
        outputs.names,
        count == len(data.train.indices),
        np.asarray(labelled.indices, np.int64),
        np.asarray(labelled.patients, np.int64),
        np.asarray(labelled.targets, np.float32),
        {
            method: np.asarray(expit(stack) if is_odds and method in PROBED else stack, np.float32)
            for method, stack in scores.items()
        },
    )


def _every_task(
    settings: Benchmark,
    encoder: Encoder,
    records: Records,
    tasks: Sequence[Task],
    cohort: Cohort,
) -> list[TaskData]:
    """Returns the recordings of each task, after all checks."""
    if cohort.folds is not None or cohort.refit:
        remedy = "give --splits FILE, or use finetune --folds with --labels"
        raise InputError(f"--folds: the benchmark draws from one training split; {remedy}")
    sites = open_sites(cohort, records, encoder.preprocessing)
    every_task = []
    for task in tasks:
        target = Conditions(task)
        every_split = divisions(cohort, records, target, encoder.preprocessing.rate_hz)
        if len(every_split) > 1:
            raise InputError(f"{cohort.splits}: holds folds; give the benchmark splits")
        splits = every_split[0]
        tests = Tests(target, encoder, cohort.exclude_seen)
        own = tests.own(splits, (settings.split,) if settings.split in splits.names else ())
        held_out = own + tests.others(splits, sites)
        require_testable(held_out, target, records)
        train = task_recordings(records, task, splits.indices("train"))
        require_variety(train, task)
        is_published = splits.parts is None and isinstance(task, NamedTask)
        is_published &= not any(test.excluded for test in held_out)
        validation = _validation(splits, task, settings.split)
        data = TaskData(task, train, held_out, is_published, settings.draw, validation)
        every_task.append(data)
    return every_task


def _validation(splits: Splits, task: Task, tested: str) -> LabelledRecordings | None:
    """Returns the recordings to choose settings with, None if there are none or they are tested."""
    if tested == "validation" or "validation" not in splits.names:
        return None
    return task_recordings(splits.records, task, splits.indices("validation"))


def _warn_if_none_is_trained(settings: Benchmark, every_task: Sequence[TaskData]) -> None:
    for data in every_task:
        if set(data.counts(settings.labels)) & set(data.counts(settings.train_at)):
            return
    if settings.trained:
        wanted = f"--train-at {' '.join(settings.train_at)}"
        tested = f"--labels {' '.join(settings.labels)}"
        console.print(f"no encoder is trained: none of {wanted} is among {tested}")
