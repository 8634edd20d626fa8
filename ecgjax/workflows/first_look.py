"""The first look at a pre-trained encoder: a table and three pictures, in under a minute."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute

from ecgjax.data.records import Records
from ecgjax.errors import counted
from ecgjax.evaluate import ecg_sheet, plots
from ecgjax.evaluate.bootstrap import Bootstrap, Interval
from ecgjax.evaluate.metrics import patient_bootstrap
from ecgjax.evaluate.tasks import CONDITIONS, TASKS, NamedTask
from ecgjax.pretrained import Encoder, load_encoder, untrained_twin
from ecgjax.train.runlog import console, read_metrics
from ecgjax.workflows.probing import Draw, Embeddings, draw_recordings, embed, probe

SEEDS = 3
"""Number of draws of labelled recordings, each with its own random encoder."""
MIN_CASES = 10
"""Minimum number of cases in a split; a condition with fewer is left out of the table."""
MIN_MAP = 4
"""Minimum number of validation recordings; t-SNE needs four points."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The pre-trained encoder against a random one."""

    labelled: int
    """Number of labelled recordings for each probe."""
    conditions: list[str]
    """Names of the conditions."""
    auroc: Bootstrap
    """AUROC of the methods "random" and "pretrained"; one class for each condition."""


def first_look(checkpoint: Path, records: Records, workdir: Path) -> Comparison | None:
    """Prints the table and the next command; writes loss.png, pair.png and map.png to `workdir`."""
    pictures = {"loss curve": workdir / "loss.png", "positive pair": workdir / "pair.png"}
    _plot_loss(workdir)
    _plot_pair(records, pictures["positive pair"])
    comparison = None
    if not missing_part(records):
        encoder = load_encoder(checkpoint)
        pictures["embeddings"] = workdir / "map.png"
        validation = records.split("validation")
        embeddings = encoder.embed_records(records, validation)
        _plot_map(embeddings, records, validation, pictures["embeddings"])
        comparison = compare(encoder, records)
        if comparison:
            _print_table(comparison)
        else:
            print("\nno condition has enough labelled recordings here for a table")
    print()
    for name, path in pictures.items():
        print(f"{name:14} {path}")
    print_next(checkpoint, records, workdir, labelled=comparison is not None)
    return comparison


def missing_part(records: Records) -> str:
    """Returns a line on the parts of the first look that a data set lacks recordings for, or ""."""
    compute: Any = pyarrow.compute  # its functions are made at import
    in_split = compute.equal(records.column("split"), "validation")
    count = compute.sum(in_split).as_py() or 0
    if count >= MIN_MAP:
        return ""
    size = counted(count, "recording")
    problem = f"{records.path}: split 'validation' has {size}, under {MIN_MAP}"
    return f"{problem}; the map of embeddings and the table of AUROC are left out"


def print_next(checkpoint: Path, records: Records, workdir: Path, *, labelled: bool = True) -> None:
    """Prints the checkpoint's folder and the command to run next, which needs labels or not."""
    print(f"checkpoint     {checkpoint}")
    if labelled:
        places = f"--checkpoint {shlex.quote(str(workdir))} --data {shlex.quote(str(records.path))}"
        options = f"{places} --tasks af mi"
        print(f"next           python -m ecgjax.launch.benchmark {options}")
    else:
        print(f"next           in Python: ecgjax.load({str(workdir)!r}) embeds recordings")


def compare(encoder: Encoder, records: Records, *, labelled: int = 200) -> Comparison | None:
    """Compares linear probes on the encoder and on random encoders, by AUROC on validation.

    Args:
      encoder: the pre-trained encoder.
      records: a prepared data set.
      labelled: number of labelled recordings for each probe, half of them cases.

    Returns:
      The mean over `SEEDS` draws, or None if no condition has enough cases.
    """
    train = records.split("train")
    validation = records.split("validation")
    train_labels = records.labels(train)
    labels = records.labels(validation)
    tasks = [TASKS[name] for name in CONDITIONS if _enough(TASKS[name], train_labels, labels)]
    if not tasks:
        return None
    console.print(f"comparing with a random encoder on {', '.join(task.name for task in tasks)}")
    labelled = min(labelled, len(train))
    draws = [_draws(records, task, labelled) for task in tasks]
    drawn = [draw.indices for task_draws in draws for draw in task_draws]
    needed = np.concatenate([validation, *drawn])
    pretrained = embed(encoder, records, needed)
    randoms = [embed(untrained_twin(encoder, seed=seed), records, needed) for seed in range(SEEDS)]
    scores = {
        "random": _scores(draws, randoms, validation),
        "pretrained": _scores(draws, [pretrained] * SEEDS, validation),
    }
    truth = np.concatenate([task.classify(labels)[0] for task in tasks], axis=1)
    bootstrap = patient_bootstrap(truth, scores, records.patients[validation])
    return Comparison(labelled, [task.name for task in tasks], bootstrap)


def _enough(task: NamedTask, train_labels: list, labels: list) -> bool:
    """Returns whether both splits have enough cases of a condition, and controls."""
    cases = [task.classify(split_labels)[0].sum() for split_labels in (train_labels, labels)]
    return min(cases) >= MIN_CASES and max(cases) < len(train_labels)


def _draws(records: Records, task: NamedTask, count: int) -> list[Draw]:
    train = records.split("train")
    targets, _ = task.targets(records, train)
    return [
        draw_recordings(records, train, targets, count, seed=seed, balanced=True)
        for seed in range(SEEDS)
    ]


def _scores(
    draws: list[list[Draw]], embeddings: list[Embeddings], tested: np.ndarray
) -> np.ndarray:
    """Returns scores of probes, float32 [seed, recording, task].

    Args:
      draws: labelled recordings for each task and seed.
      embeddings: embeddings for each seed.
      tested: recordings to score.
    """
    by_task = [
        np.stack([probe(draw, embeddings[draw.seed], tested) for draw in task_draws])
        for task_draws in draws
    ]
    return np.concatenate(by_task, axis=-1)


def _plot_loss(workdir: Path) -> None:
    """Plots loss and pair accuracy, if the method logs one."""
    lines = read_metrics(workdir)
    steps = [line["step"] for line in lines]
    losses = [line["loss"] for line in lines]
    accuracy = [line["pair_accuracy"] for line in lines] if "pair_accuracy" in lines[0] else None
    plots.loss_curve(steps, losses, workdir / "loss.png", accuracy=accuracy)


def _plot_pair(records: Records, path: Path) -> None:
    """Plots two recordings of the first training patient who has two, else one recording."""
    train = records.split("train")
    _, first, count = np.unique(records.patients[train], return_index=True, return_counts=True)
    position = first[count > 1].min() if (count > 1).any() else 0
    patient = records.patients[train[position]]
    pair = train[records.patients[train] == patient][:2]
    titles = [_title(records.row(index)) for index in pair]
    ecg_sheet.draw(list(records.read(pair)), path, rate_hz=records.rate_hz, titles=titles)


def _title(row: dict) -> str:
    date = f"{row['recorded_at']:%Y-%m-%d}" if row["recorded_at"] else None
    age = f"{row['age']:.0f} years" if row["age"] is not None else None
    patient = f"patient {row['patient_id'][:6]}"
    parts = [patient, date, age, row["sex"], " ".join(row["labels"])]
    return "   ".join(part for part in parts if part)


def _plot_map(embeddings: np.ndarray, records: Records, indices: np.ndarray, path: Path) -> None:
    """Plots embeddings in two dimensions, coloured by each recording's first condition."""
    shown, points = plots.reduce_to_2d(embeddings)
    plots.embedding_map(
        points,
        first_conditions(records, indices[shown]),
        path,
        title=f"embeddings, {records.name}",
        patients=records.patients[indices[shown]],
    )


def first_conditions(records: Records, indices: np.ndarray) -> list[str]:
    """Returns the first of `CONDITIONS` that each recording has, or "other"."""
    labels = records.labels(indices)
    conditions = np.full(len(indices), "other", object)
    for name in reversed(CONDITIONS):
        conditions[TASKS[name].classify(labels)[0][:, 0] == 1] = name
    return list(conditions)


def _print_table(comparison: Comparison) -> None:
    auroc = comparison.auroc
    print(f"\nAUROC of a linear probe on {comparison.labelled} labelled recordings")
    print(f"validation patients, mean of {SEEDS} draws; random is the same encoder, untrained\n")
    print(f"{'':12}{'random':>8}{'pre-trained':>13}   gain (95 % interval)")
    columns = (
        auroc.per_class("random"),
        auroc.per_class("pretrained"),
        auroc.per_class("pretrained", minus="random"),
    )
    for name, random, pretrained, gain in zip(comparison.conditions, *columns, strict=True):
        print(_line(name, random, pretrained, gain))
    gain = auroc.macro("pretrained", minus="random")
    print(_line("mean", auroc.macro("random"), auroc.macro("pretrained"), gain))


def _line(name: str, random: Interval, pretrained: Interval, gain: Interval) -> str:
    return f"{name:12}{random.value:8.3f}{pretrained.value:13.3f}   {gain.text(signed=True)}"
