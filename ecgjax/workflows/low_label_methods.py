"""The methods that the low-label benchmark compares, and their scores; see `benchmark`."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecgjax.adapt.attention_probe import AttentionProbing
from ecgjax.adapt.finetune import FineTuning
from ecgjax.data.records import Records
from ecgjax.errors import InputError, counted
from ecgjax.evaluate.benchmark_predictions import file_name
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.train.manifest import encoder_config
from ecgjax.train.runlog import console
from ecgjax.whole_files import replaced
from ecgjax.workflows.cohort import HeldOut
from ecgjax.workflows.further_probes import FurtherProbe, FurtherProbes
from ecgjax.workflows.low_label import Labels, training_set
from ecgjax.workflows.probing import (
    Draw,
    Embeddings,
    draw_task,
    embed,
    fit_probe,
    predict,
)
from ecgjax.workflows.record_draw import draw_single
from ecgjax.workflows.task_data import TaskData
from ecgjax.workflows.trained_methods import TrainedMethod, TrainedMethods
from ecgjax.workflows.tuning import VALIDATED_FROM

PROBED = ("frozen", "random", "mean_pool")
"""Methods that fit a probe to each draw, with log-odds of labels as scores."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Settings of the benchmark."""

    labels: tuple[str, ...] = ("50", "100", "250", "1000", "all")
    """Labelled recordings of the training split: counts (100), shares (0.1 or 10%) or all."""
    seeds: int = 3
    """Number of draws of labelled recordings."""
    random_encoders: int | None = None
    """Number of random encoders; draw k is measured on encoder k modulo this number. Default: one
    for each draw."""
    train_at: tuple[str, ...] = ("100", "1000")
    """Amounts of --labels with which encoders are trained, too. Training takes minutes, a probe
    seconds."""
    trained: tuple[TrainedMethod, ...] = ("scratch",)
    """Training from initial weights (scratch), from the checkpoint (finetuned), or both."""
    split: str = "test"
    """Split to test on."""
    finetuning: FineTuning = FineTuning()
    """Settings of training, from the checkpoint and from scratch."""
    tune: bool = False
    """Choose the settings of scratch and of finetuned for each task and amount of labels. There are
    six candidates: crops of 2.5, 5 and 10 s; then, with the best crops, 1/4 of the learning rate,
    1/4 of the steps, or both. The first draw decides, by 3-fold cross-validation within its
    recordings. With 2,000 labels or more (--validated-from) it decides on the validation split,
    unless --split is validation. The choices are in tuning.csv. Trains seven to twenty times as
    long."""
    tune_at: tuple[str, ...] = ()
    """Amounts of labels at which --tune chooses; an amount between them takes the choice of the
    next lower one. Default: each amount of --train-at has its own choice. Give one amount below
    1,000 and one above: fine-tuning has other learning rates there (--finetuning.encoder-rate)."""
    validated_from: int = VALIDATED_FROM
    """Labelled recordings from which on --tune measures on the validation split. Cross-validation
    of 50 recordings chooses much by chance; with 0 every choice is made on the whole split."""
    probes: tuple[FurtherProbe, ...] = ()
    """Further probes of the frozen encoder: logistic regression on mean-pooled tokens alone
    (mean_pool), and learned queries that attend over the tokens (attention)."""
    attention: AttentionProbing = AttentionProbing()
    """Settings of the query-attention probe."""
    draw: Literal["patients", "recordings"] = "patients"
    """Draw labels patient by patient, or recording by recording as MERL does (docs/protocols.md),
    which rounds shares down."""
    random_scores: Path | None = None
    """Folder that stores scores of random encoders for other checkpoints of the architecture."""

    def __post_init__(self):
        if self.seeds < 1 or not self.labels:
            given = f"benchmark of {self.seeds} seeds and labels {' '.join(self.labels) or 'none'}"
            raise InputError(f"{given}: give one seed or more, and labels such as 100 or all")
        if self.tune_at and not self.tune:
            raise InputError(f"--tune-at {' '.join(self.tune_at)}: add --tune, or leave it out")
        for text in (*self.labels, *self.train_at, *self.tune_at):
            Labels.parse(text)  # refuses what is no amount
        if self.random_encoders is not None and not 1 <= self.random_encoders <= self.seeds:
            given = f"--random-encoders {self.random_encoders}"
            raise InputError(f"{given}: give 1 to {self.seeds}, the number of seeds")

    @property
    def tuning(self) -> str:
        """Sentence that says how the settings of the methods that train were chosen."""
        trained = " and ".join(self.trained)
        if not self.tune:
            return f"Settings of {trained}: as given, not chosen by --tune."
        amounts = f" with {', '.join(self.tune_at)} labels" if self.tune_at else ""
        crossed = "by cross-validation within the first draw"
        validated = "on all labels of the validation split, which are not counted as labels here"
        rule = f"{crossed}; from {self.validated_from:,} labels on, if there is one, {validated}"
        if self.split == "validation":
            rule = crossed
        elif self.validated_from == 0:
            rule = f"if there is one, {validated}, otherwise {crossed}"
        return f"Settings of {trained}: each the best of up to six{amounts} ({rule})."


class Methods:
    """Scores of all methods.

    Each encoder embeds the drawn and the tested recordings of a data set once, when it first needs
    them.
    """

    def __init__(
        self, settings: Benchmark, encoder: Encoder, every_task: Sequence[TaskData], out: Path
    ):
        self._settings = settings
        self._encoder = encoder
        self._out = out
        name = encoder.config["encoder"]["name"]
        self._architecture = encoder_config(name, encoder.module, encoder.preprocessing)
        self._needed = self._needed_recordings(every_task)
        self._embedded: dict[tuple[Path, int | None], Embeddings] = {}
        self._trained = TrainedMethods(
            encoder,
            self._architecture,
            settings.finetuning,
            out,
            tune=settings.tune,
            validated_from=settings.validated_from,
        )
        self._further = FurtherProbes(encoder, self._needed, settings.attention)

    def scores(self, data: TaskData, count: int) -> list[dict[str, np.ndarray]]:
        """Returns, for each test, each method's scores [seed, recording, class]."""
        settings = self._settings
        draws = self._draws(data, count)
        # All labels are one draw, whatever the seed: another probe needs another encoder.
        everything = count == len(data.train.indices)
        frozen = draws[:1] if everything else draws
        random = draws[: settings.random_encoders] if everything else draws
        scores = {
            "frozen": [self._probe(data, draw) for draw in frozen],
            "random": [self._random_scores(data, draw) for draw in random],
        }
        tests = [test.labelled for test in data.tests]
        for probe in settings.probes:
            records = data.train.records
            scores[probe] = [self._further.scores(probe, d, records, tests) for d in frozen]
        if count in data.counts(settings.train_at):
            tuning_draw = self._tuning_draw(data, count)
            for method in settings.trained:
                scores[method] = self._trained.scores(method, data, draws, tuning_draw)
        return [
            {method: np.stack([tests[k] for tests in scores[method]]) for method in scores}
            for k in range(len(data.tests))
        ]

    def _needed_recordings(self, every_task: Sequence[TaskData]) -> dict[Path, np.ndarray]:
        """Returns the recordings that are tested or drawn, ascending, for each data set's folder.

        With few labels they are a fraction of the training split.
        """
        rows: dict[Path, list[np.ndarray]] = {}
        for data in every_task:
            for test in data.tests:
                rows.setdefault(test.labelled.records.path, []).append(test.labelled.indices)
            drawn = rows.setdefault(data.train.records.path, [])
            for count in data.counts(self._settings.labels):
                if count <= len(data.train.indices):
                    drawn += [draw.indices for draw in self._draws(data, count)]
        return {
            path: np.unique(np.concatenate(indices)) for path, indices in rows.items() if indices
        }

    def _tuning_draw(self, data: TaskData, count: int) -> Draw:
        """Returns the draw that chooses settings of training with a number of labels."""
        amounts = [each for each in data.counts(self._settings.tune_at) if each <= count]
        return self._draw(data, max(amounts, default=count), 0)

    def _draws(self, data: TaskData, count: int) -> list[Draw]:
        return [self._draw(data, count, seed) for seed in range(self._settings.seeds)]

    def _draw(self, data: TaskData, count: int, seed: int) -> Draw:
        train = data.train
        if data.draw == "recordings":
            drawn = train.take(draw_single(len(train.indices), count, seed=seed))
            outputs = data.task.outputs.fitted(drawn.targets)
            return Draw(drawn.indices, drawn.targets, drawn.patients, seed, outputs)
        return draw_task(data.task, train, count, seed=seed)

    def _probe(self, data: TaskData, draw: Draw, seed: int | None = None) -> list[np.ndarray]:
        """Returns scores of each test by a probe on the pre-trained or a random encoder."""
        fitted = fit_probe(draw, self._embeddings(data.train.records, seed))
        return [
            predict(draw, fitted, self._embeddings(test.records, seed).select(test.indices))
            for test in (held_out.labelled for held_out in data.tests)
        ]

    def _embeddings(self, records: Records, seed: int | None) -> Embeddings:
        """Returns embeddings by the pre-trained encoder, or by the random encoder of a seed."""
        key = (records.path, seed)
        if key not in self._embedded:
            indices = self._needed[records.path]
            name = "pre-trained" if seed is None else f"random {seed}"
            size = counted(len(indices), "recording")
            console.print(f"embedding {size} of {records.name}: {name}")
            encoder = self._encoder if seed is None else untrained_twin(self._encoder, seed=seed)
            self._embedded[key] = embed(encoder, records, indices)
        return self._embedded[key]

    def _random_scores(self, data: TaskData, draw: Draw) -> list[np.ndarray]:
        """Returns scores of a probe on a random encoder, from the folder of scores if possible."""
        weights = draw.seed % (self._settings.random_encoders or self._settings.seeds)
        if self._settings.random_scores is None:
            return self._probe(data, draw, weights)
        files = [self._random_scores_file(data, test, draw, weights) for test in data.tests]
        if not all(file.exists() for file in files):
            for file, scores in zip(files, self._probe(data, draw, weights), strict=True):
                file.parent.mkdir(parents=True, exist_ok=True)
                with replaced(file) as unfinished:
                    np.save(unfinished, scores)
        return [np.load(file) for file in files]

    def _random_scores_file(self, data: TaskData, test: HeldOut, draw: Draw, weights: int) -> Path:
        """Returns the file of a random encoder's scores: architecture, data, task and draw."""
        train = data.train.records
        key: list[Any] = [self._architecture, train.fingerprint, test.name]
        if data.draw != "patients":
            key.append(data.draw)
        if test.name != self._settings.split or not data.is_published:
            tested = test.labelled
            train_set = training_set(data.train.indices, data.train.targets)
            key += [train_set, tested.records.fingerprint, tested.indices.tolist()]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        name = f"{file_name(data.task.name)}-{len(draw.indices)}-{draw.seed}"
        suffix = f"-weights-{weights}" if weights != draw.seed else ""
        return Path(self._settings.random_scores or "", digest, f"{name}{suffix}.npy")
