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

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.low_label_table import Row, make_row, seed_rows, write_csv
from ecgjax.evaluate.scores import MAIN_METRIC, measure
from ecgjax.evaluate.tasks import NamedTask, Task
from ecgjax.preprocessing import absent_leads_note
from ecgjax.pretrained import Encoder
from ecgjax.train.origin import unknown_past
from ecgjax.train.runlog import console
from ecgjax.workflows.cohort import (
    PUBLISHED,
    Cohort,
    Tests,
    divisions,
    open_sites,
    require_testable,
)
from ecgjax.workflows.low_label import require_variety, task_recordings
from ecgjax.workflows.low_label_methods import Benchmark, Methods, TaskData
from ecgjax.workflows.targets import Conditions


def benchmark(
    settings: Benchmark,
    encoder: Encoder,
    records: Records,
    tasks: Sequence[Task],
    out: Path,
    *,
    cohort: Cohort = PUBLISHED,
) -> list[Row]:
    """Compares an encoder with its baselines; writes benchmark.csv, per_seed.csv and settings.json.

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
        data.counts((*settings.labels, *settings.train_at))  # a bad share is refused now
    out.mkdir(parents=True, exist_ok=True)
    _warn_if_none_is_trained(settings, every_task)
    methods = Methods(settings, encoder, every_task, out)
    rows = []
    per_seed = []
    for data in every_task:
        for count in data.counts(settings.labels):
            if count > len(data.train.indices):
                available = f"{len(data.train.indices)} labelled recordings"
                console.print(f"{data.task.name}: {available}, {count} wanted; left out")
                continue
            for test, scores in zip(data.tests, methods.scores(data, count), strict=True):
                truth = test.labelled.targets
                kind = data.task.outputs.kind
                measured = measure(kind, truth, scores, test.labelled.patients)
                bootstrap = measured[MAIN_METRIC[kind]]
                for method in scores:
                    rows.append(make_row(data.task, count, method, bootstrap, test.name))
                    console.print(str(rows[-1]))
                per_seed += seed_rows(data.task, count, test.name, truth, scores)
            # Written as it goes: the last minute's failure does not lose hours of work.
            write_csv(out / "benchmark.csv", [dataclasses.asdict(row) for row in rows])
            write_csv(out / "per_seed.csv", per_seed)
    if not rows:
        problem = "no task has as many labelled recordings as wanted"
        raise InputError(f"{records.path}: {problem}; lower --labels")
    text = json.dumps(dataclasses.asdict(settings), indent=1, default=str)
    (out / "settings.json").write_text(text)
    return rows


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
        every_task.append(TaskData(task, train, held_out, is_published))
    return every_task


def _warn_if_none_is_trained(settings: Benchmark, every_task: Sequence[TaskData]) -> None:
    for data in every_task:
        if set(data.counts(settings.labels)) & set(data.counts(settings.train_at)):
            return
    if settings.trained:
        wanted = f"--train-at {' '.join(settings.train_at)}"
        tested = f"--labels {' '.join(settings.labels)}"
        console.print(f"no encoder is trained: none of {wanted} is among {tested}")
