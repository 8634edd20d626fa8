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
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.parts.classifier import predict
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.errors import InputError
from ecgjax.evaluate.low_label_table import Row, make_row, seed_rows, write_csv
from ecgjax.evaluate.metrics import patient_bootstrap
from ecgjax.evaluate.tasks import Task
from ecgjax.preprocessing import absent_leads_note
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.train.manifest import encoder_config
from ecgjax.train.runlog import console
from ecgjax.workflows.low_label import Labels, task_recordings
from ecgjax.workflows.probing import Draw, Embeddings, draw_recordings, embed, probe


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Settings of the benchmark."""

    labels: tuple[str, ...] = ("50", "100", "250", "1000", "all")
    """Labelled recordings of the training split: counts (100), shares (0.1 or 10%) or all."""
    seeds: int = 3
    """Number of draws of labelled recordings."""
    random_encoders: int | None = None
    """Number of random encoders, which the draws share in turn. Default: one for each draw."""
    train_at: tuple[str, ...] = ("100", "1000")
    """Amounts among --labels at which encoders are also trained: minutes instead of seconds."""
    trained: tuple[Literal["scratch", "finetuned"], ...] = ("scratch",)
    """Training from initial weights (scratch), from the checkpoint (finetuned), or both."""
    split: str = "test"
    """Split to test on."""
    finetuning: FineTuning = FineTuning()
    """Settings of training, from the checkpoint and from scratch."""
    random_scores: Path | None = None
    """Folder that stores scores of random encoders for other checkpoints of the architecture."""

    def __post_init__(self):
        if self.seeds < 1 or not self.labels:
            given = f"benchmark of {self.seeds} seeds and labels {' '.join(self.labels) or 'none'}"
            raise InputError(f"{given}: give one seed or more, and labels such as 100 or all")
        for text in (*self.labels, *self.train_at):
            Labels.parse(text)  # refuses what is no amount
        if self.random_encoders is not None and not 1 <= self.random_encoders <= self.seeds:
            given = f"--random-encoders {self.random_encoders}"
            raise InputError(f"{given}: give 1 to {self.seeds}, the number of seeds")


@dataclasses.dataclass(frozen=True, eq=False)
class _TaskData:
    """A task with its training and test recordings."""

    task: Task
    train: np.ndarray
    """Recordings to draw from, [recording]."""
    targets: np.ndarray
    """Targets of the training recordings, float32 [recording, class]."""
    test: np.ndarray
    """Recordings to test on, [recording]."""
    truth: np.ndarray
    """Targets of the test recordings, float32 [recording, class]."""

    def counts(self, amounts: Sequence[str]) -> list[int]:
        """Returns the numbers of labelled recordings that amounts mean for this task."""
        return [Labels.parse(text).number(len(self.train)) for text in amounts]


def benchmark(
    settings: Benchmark, encoder: Encoder, records: Records, tasks: Sequence[Task], out: Path
) -> list[Row]:
    """Compares an encoder with its baselines; writes benchmark.csv, per_seed.csv and settings.json.

    Args:
      settings: methods and amounts of labels.
      encoder: the pre-trained encoder.
      records: a prepared data set.
      tasks: the tasks to predict.
      out: folder of the results. It keeps trained encoders, so that none is trained twice.

    Raises:
      InputError: the encoder was trained on test recordings, splits share patients, or no task has
        enough labelled recordings.
    """
    if note := absent_leads_note(encoder.preprocessing, records.leads, records.name):
        console.print(note)
    every_task = [_task_data(records, task, settings.split) for task in tasks]
    refuse_shared(records)
    for data in every_task:
        refuse_seen(encoder.seen, records, data.test)
        data.counts((*settings.labels, *settings.train_at))  # a bad share is refused now
    out.mkdir(parents=True, exist_ok=True)
    _warn_if_none_is_trained(settings, every_task)
    methods = _Methods(settings, encoder, records, out)
    rows = []
    per_seed = []
    for data in every_task:
        for count in data.counts(settings.labels):
            if count > len(data.train):
                available = f"{len(data.train)} labelled recordings"
                console.print(f"{data.task.name}: {available}, {count} wanted; left out")
                continue
            scores = methods.scores(data, count)
            bootstrap = patient_bootstrap(data.truth, scores, records.patients[data.test])
            for method in scores:
                rows.append(make_row(data.task, count, method, bootstrap))
                console.print(str(rows[-1]))
            per_seed += seed_rows(data.task, count, data.truth, scores)
            # Written as it goes: the last minute's failure does not lose hours of work.
            write_csv(out / "benchmark.csv", [dataclasses.asdict(row) for row in rows])
            write_csv(out / "per_seed.csv", per_seed)
    if not rows:
        problem = "no task has as many labelled recordings as wanted"
        raise InputError(f"{records.path}: {problem}; lower --labels")
    text = json.dumps(dataclasses.asdict(settings), indent=1, default=str)
    (out / "settings.json").write_text(text)
    return rows


def _task_data(records: Records, task: Task, split: str) -> _TaskData:
    train, targets = task_recordings(records, task, "train")
    test, truth = task_recordings(records, task, split)
    return _TaskData(task, train, targets, test, truth)


def _warn_if_none_is_trained(settings: Benchmark, every_task: Sequence[_TaskData]) -> None:
    for data in every_task:
        if set(data.counts(settings.labels)) & set(data.counts(settings.train_at)):
            return
    if settings.trained:
        wanted = f"--train-at {' '.join(settings.train_at)}"
        tested = f"--labels {' '.join(settings.labels)}"
        console.print(f"no encoder is trained: none of {wanted} is among {tested}")


class _Methods:
    """Scores of all methods. Each encoder embeds the data set once, when it is first needed."""

    def __init__(self, settings: Benchmark, encoder: Encoder, records: Records, out: Path):
        self._settings = settings
        self._encoder = encoder
        self._records = records
        self._out = out
        name = encoder.config["encoder"]["name"]
        self._architecture = encoder_config(name, encoder.module, encoder.preprocessing)
        self._embedded: dict[int | None, Embeddings] = {}

    def scores(self, data: _TaskData, count: int) -> dict[str, np.ndarray]:
        """Returns each method's scores of the test recordings, [seed, recording, class]."""
        settings = self._settings
        draws = [self._draw(data, count, seed) for seed in range(settings.seeds)]
        # All labels are one draw, whatever the seed: another probe needs another encoder.
        everything = count == len(data.train)
        frozen = draws[:1] if everything else draws
        random = draws[: settings.random_encoders] if everything else draws
        scores = {
            "frozen": [probe(draw, self._embeddings(), data.test) for draw in frozen],
            "random": [self._random_scores(data, draw) for draw in random],
        }
        if count in data.counts(settings.train_at):
            for method in settings.trained:
                scores[method] = [self._train(method, data, draw) for draw in draws]
        return {method: np.stack(arrays) for method, arrays in scores.items()}

    def _draw(self, data: _TaskData, count: int, seed: int) -> Draw:
        balanced = data.task.is_single and count < len(data.train)
        return draw_recordings(
            self._records, data.train, data.targets, count, seed=seed, balanced=balanced
        )

    def _embeddings(self, seed: int | None = None) -> Embeddings:
        """Returns embeddings by the pre-trained encoder, or by the random encoder of a seed."""
        if seed not in self._embedded:
            splits = [self._records.split(name) for name in ("train", self._settings.split)]
            indices = np.concatenate(splits)
            name = "pre-trained" if seed is None else f"random {seed}"
            console.print(f"embedding {len(indices)} recordings: {name}")
            encoder = self._encoder if seed is None else untrained_twin(self._encoder, seed=seed)
            self._embedded[seed] = embed(encoder, self._records, indices)
        return self._embedded[seed]

    def _random_scores(self, data: _TaskData, draw: Draw) -> np.ndarray:
        """Returns scores of a probe on a random encoder, from the folder of scores if possible."""
        weights = draw.seed % (self._settings.random_encoders or self._settings.seeds)
        if self._settings.random_scores is None:
            return probe(draw, self._embeddings(weights), data.test)
        file = self._random_scores_file(data, draw, weights)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, probe(draw, self._embeddings(weights), data.test))
        return np.load(file)

    def _random_scores_file(self, data: _TaskData, draw: Draw, weights: int) -> Path:
        """Returns the file of a random encoder's scores: architecture, data, task and draw."""
        key = [self._architecture, self._records.fingerprint, self._settings.split]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        name = f"{data.task.name}-{len(draw.indices)}-{draw.seed}"
        suffix = f"-weights-{weights}" if weights != draw.seed else ""
        return Path(self._settings.random_scores or "", digest, f"{name}{suffix}.npy")

    def _train(self, method: str, data: _TaskData, draw: Draw) -> np.ndarray:
        """Trains encoder and head with a draw; returns probabilities of the test recordings."""
        start = self._encoder
        if method == "scratch":
            start = untrained_twin(self._encoder, seed=draw.seed)
        name = f"{method}-{data.task.name}-{len(draw.indices)}-{draw.seed}"
        config = {
            **self._architecture,
            "task": data.task.name,
            "classes": list(data.task.classes),
            "data": self._records.name,
            "labelled": len(draw.indices),
        }
        finetuning = dataclasses.replace(self._settings.finetuning, seed=draw.seed)
        labelled = Labelled(self._records, draw.indices, draw.targets)
        adapted = finetuning.adapt(start, labelled, Run(self._out / name, config, name))
        return predict(adapted, start, self._records, data.test)
