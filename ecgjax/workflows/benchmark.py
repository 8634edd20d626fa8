"""The low-label benchmark: how well an encoder does with n labelled recordings, against what it has to beat.

For every task, number of labels n and seed, n recordings of the training split are drawn, all ways see the same ones:

  frozen       logistic regression on the encoder's embeddings
  random       the same on the same encoder with initial weights
  finetuned    encoder and head trained, from the checkpoint
  scratch      encoder and head trained, from initial weights

All are tested on the same split; intervals come from resampling its patients, differences are paired.
"""

import csv
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ecgjax.adapt import linear_probe
from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.parts.classifier import predict
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import Bootstrap, auroc, patient_bootstrap
from ecgjax.evaluate.tasks import Task
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.train.checkpoint import describe
from ecgjax.train.runlog import console
from ecgjax.workflows.low_label import draw_labelled, labelled


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What is compared with what."""

    labels: tuple[int, ...] = (50, 100, 250, 1000, 0)
    """Numbers of labelled recordings; 0 means all of the training split."""
    seeds: int = 3
    """Draws of labelled recordings."""
    random_encoders: int | None = None
    """Initial weights that the draws share in turn, where it takes long to embed with each; None: new ones a draw."""
    train_at: tuple[int, ...] = (100, 1000)
    """Numbers of labels at which encoders are also trained, which takes minutes instead of seconds."""
    trained: tuple[Literal["scratch", "finetuned"], ...] = ("scratch",)
    """Which of "scratch" and "finetuned" to train there."""
    split: str = "test"
    """Tested on this split."""
    finetuning: FineTuning = FineTuning()
    """Settings of both trained ways."""
    random_scores: Path | None = None
    """Folder that keeps the scores of random encoders, for other checkpoints of the same architecture."""

    def __post_init__(self):
        if self.seeds < 1 or min(self.labels, default=-1) < 0:
            raise InputError(f"benchmark of {self.seeds} seeds and labels {self.labels}: give one seed or more, and "
                             f"numbers of labels (0 means all)")  # fmt: skip
        if self.random_encoders is not None and not 1 <= self.random_encoders <= self.seeds:
            raise InputError(
                f"--random-encoders {self.random_encoders}: give 1 to {self.seeds}, the number of seeds"
            )


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the result: a task's macro AUROC with its 95 % interval, and the gain over the random encoder."""

    task: str
    labels: int
    way: str
    auroc: float
    low: float
    high: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None


def benchmark(
    settings: Benchmark, encoder: Encoder, records: Records, tasks: Sequence[Task], out: Path
) -> list[Row]:
    """Runs the comparison; writes benchmark.csv, per_seed.csv; trained runs are kept in `out` and not done twice.

    Args:
      settings: what to compare.
      encoder: the pre-trained one.
      records: a prepared data set.
      tasks: what to predict.
      out: the results' folder.
    """
    splits = [
        (labelled(records, task, "train"), labelled(records, task, settings.split))
        for task in tasks
    ]
    refuse_shared(records)
    for _, (tested, _) in splits:
        refuse_seen(encoder.seen, records, tested)
    out.mkdir(parents=True, exist_ok=True)
    embedded = _Embedded(encoder, records, settings)
    if settings.trained and not set(settings.labels) & set(settings.train_at):
        numbers = (" ".join(map(str, given)) for given in (settings.train_at, settings.labels))
        console.print(
            "no encoder is trained: none of --train-at {} is among --labels {}".format(*numbers)
        )
    rows, per_seed = [], []
    for task, (train, test) in zip(tasks, splits, strict=True):
        for n in settings.labels:
            count = n or len(train[0])
            if count > len(train[0]):
                console.print(
                    f"{task.name}: {len(train[0])} labelled recordings, {n} wanted; left out"
                )
                continue
            scores = _scores(settings, embedded, task, train, test, count, out)
            bootstrap = patient_bootstrap(test[1], scores, records.patients[test[0]])
            for way in scores:
                rows.append(_row(task, count, way, bootstrap))
                console.print(_line(rows[-1]))
            per_seed += _per_seed(task, count, scores, test[1])
            # As it goes: hours of work are not lost with the last minute's.
            _write_csv(out / "benchmark.csv", [dataclasses.asdict(row) for row in rows])
            _write_csv(out / "per_seed.csv", per_seed)
    if not rows:
        raise InputError(
            f"{records.path}: no task has as many labelled recordings as wanted; lower --labels"
        )
    (out / "settings.json").write_text(
        json.dumps(dataclasses.asdict(settings), indent=1, default=str)
    )
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The result as a table: a line for each task and number of labels, a column for each way."""
    ways = list(dict.fromkeys(row.way for row in rows))
    lines = [
        "| task | labels | " + " | ".join(ways) + " | frozen - random |",
        "| --- " * (len(ways) + 3) + "|",
    ]
    for task, labels in dict.fromkeys((row.task, row.labels) for row in rows):
        found = {row.way: row for row in rows if (row.task, row.labels) == (task, labels)}
        cells = [f"{found[way].auroc:.3f}" if way in found else "" for way in ways]
        frozen = found["frozen"]
        gain = f"{frozen.gain:+.3f} ({frozen.gain_low:+.3f} to {frozen.gain_high:+.3f})"
        lines.append(f"| {task} | {labels:,} | " + " | ".join(cells) + f" | {gain} |")
    return "\n".join(lines) + "\n"


class _Embedded:
    """Embeddings of the splits in use, each computed once: of the encoder, and of its untrained twin of every seed."""

    def __init__(self, encoder: Encoder, records: Records, settings: Benchmark):
        self.encoder, self.records = encoder, records
        self._indices = np.concatenate([records.split("train"), records.split(settings.split)])

    @functools.cached_property
    def frozen(self) -> np.ndarray:
        return self._embed(self.encoder, "pre-trained")

    @functools.cache  # noqa: B019, one object a process
    def random(self, seed: int) -> np.ndarray:
        return self._embed(untrained_twin(self.encoder, seed=seed), f"random {seed}")

    def of(self, embeddings: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """The rows of some recordings."""
        return embeddings[np.searchsorted(self._indices, indices)]

    def _embed(self, encoder: Encoder, what: str) -> np.ndarray:
        console.print(f"embedding {len(self._indices)} recordings: {what}")
        return encoder.embed(self.records, self._indices)


def _scores(
    settings: Benchmark,
    embedded: _Embedded,
    task: Task,
    train: tuple,
    test: tuple,
    n: int,
    out: Path,
) -> dict[str, np.ndarray]:
    """For each way, the test scores of all seeds: [seed, recording, class]."""
    (train_indices, targets), (test_indices, _) = train, test
    patients = embedded.records.patients[train_indices]
    scores: dict[str, list[np.ndarray]] = {}
    for seed in range(settings.seeds):
        everything = n == len(train_indices)
        drawn = draw_labelled(
            targets, patients, n, seed=seed, balanced=task.is_single and not everything
        )
        indices, truth = train_indices[drawn], targets[drawn]
        marked = indices, truth, patients[drawn]
        if not (
            everything and seed
        ):  # the same recordings and the same weights give the same probe
            scores.setdefault("frozen", []).append(
                _probed(embedded, embedded.frozen, *marked, test_indices, seed)
            )
        weights = seed % (settings.random_encoders or settings.seeds)
        if not (everything and weights < seed):
            scores.setdefault("random", []).append(
                _random_scores(
                    settings, embedded, f"{task.name}-{n}", *marked, test_indices, seed, weights
                )
            )
        for way in settings.trained if n in settings.train_at else ():
            start = (
                embedded.encoder
                if way == "finetuned"
                else untrained_twin(embedded.encoder, seed=seed)
            )
            trained = _train(
                settings,
                start,
                embedded,
                task,
                indices,
                truth,
                seed,
                out / f"{way}-{task.name}-{n}-{seed}",
            )
            scores.setdefault(way, []).append(
                predict(trained, start, embedded.records, test_indices)
            )
    return {way: np.stack(per_seed) for way, per_seed in scores.items()}


def _probed(
    embedded: _Embedded, embeddings, indices, targets, patients, test_indices, seed: int
) -> np.ndarray:
    probe = linear_probe.fit(embedded.of(embeddings, indices), targets, patients, seed=seed)
    return probe.scores(embedded.of(embeddings, test_indices))


def _random_scores(
    settings: Benchmark,
    embedded: _Embedded,
    what: str,
    indices,
    targets,
    patients,
    test_indices,
    seed,
    weights: int,
) -> np.ndarray:
    """A probe on a random encoder with the given initial weights; kept, if wanted, for other checkpoints."""
    kept = _kept(
        settings, embedded, f"{what}-{seed}" + (f"-weights-{weights}" if weights != seed else "")
    )
    if kept and kept.exists():
        return np.load(kept)
    scores = _probed(
        embedded, embedded.random(weights), indices, targets, patients, test_indices, seed
    )
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, scores)
    return scores


def _kept(settings: Benchmark, embedded: _Embedded, what: str) -> Path | None:
    """The file for a random encoder's scores, if such are kept."""
    if settings.random_scores is None:
        return None
    encoder = embedded.encoder
    architecture = describe(
        encoder.config["encoder"]["name"], encoder.module, encoder.preprocessing
    )
    key = json.dumps([architecture, embedded.records.fingerprint, settings.split], sort_keys=True)
    return settings.random_scores / hashlib.sha256(key.encode()).hexdigest()[:16] / f"{what}.npy"


def _train(settings, start, embedded, task, indices, targets, seed, workdir):
    config = {
        **describe(embedded.encoder.config["encoder"]["name"], start.module, start.preprocessing),
        "task": task.name,
        "classes": list(task.classes),
        "data": embedded.records.name,
        "labelled": len(indices),
    }
    finetuning = dataclasses.replace(settings.finetuning, seed=seed)
    return finetuning.adapt(
        start, Labelled(embedded.records, indices, targets), Run(workdir, config, workdir.name)
    )


def _row(task: Task, n: int, way: str, bootstrap: Bootstrap) -> Row:
    own = bootstrap.macro(way)
    gain = None if way == "random" else bootstrap.macro(way, minus="random")
    gains = (gain.value, gain.low, gain.high) if gain else (None, None, None)
    return Row(task.name, n, way, own.value, own.low, own.high, *gains)


def _line(row: Row) -> str:
    gain = (
        ""
        if row.gain is None
        else f"   {row.gain:+.3f} ({row.gain_low:+.3f} to {row.gain_high:+.3f}) over random"
    )
    return f"{row.task:12}{row.labels:>7}  {row.way:10}{row.auroc:.3f} ({row.low:.3f}-{row.high:.3f}){gain}"


def _per_seed(
    task: Task, n: int, scores: dict[str, np.ndarray], truth: np.ndarray
) -> Iterator[dict]:
    for way, stack in scores.items():
        for seed, one in enumerate(stack):
            for name, value in zip(task.classes, auroc(truth, one), strict=True):
                yield {
                    "task": task.name,
                    "labels": n,
                    "way": way,
                    "seed": seed,
                    "class": name,
                    "auroc": value,
                }


def _write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
