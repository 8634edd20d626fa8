"""What pre-training has brought: a table and three pictures at the end of every run, in under a minute."""

import dataclasses
from pathlib import Path

import numpy as np

from ecgjax.adapt import linear_probe
from ecgjax.data.records import Records
from ecgjax.evaluate import plots
from ecgjax.evaluate.metrics import Bootstrap, Interval, patient_bootstrap
from ecgjax.evaluate.tasks import TASKS, Task
from ecgjax.pretrained import Encoder, load, untrained_twin
from ecgjax.train.runlog import console, read_metrics
from ecgjax.workflows.low_label import draw_labelled

TARGETS = ("af", "flutter", "premature", "av_block_1", "mi")
SEEDS = 3
LEAST_CASES = 10
"""A condition with fewer cases in the validation split is left out of the table."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Random against pre-trained encoder on the conditions that the data hold.

    Attributes:
      labelled: recordings whose labels each probe saw.
      conditions: their names.
      auroc: methods "random" and "pretrained", one class a condition.
    """

    labelled: int
    conditions: list[str]
    auroc: Bootstrap


def first_look(checkpoint: Path, records: Records, workdir: Path) -> Comparison | None:
    """Prints the table, writes loss.png, pair.png and map.png to `workdir`, and says what to do next."""
    encoder = load(checkpoint)
    lines = read_metrics(workdir)
    steps, losses = ([line[name] for line in lines] for name in ("step", "loss"))
    accuracy = [line["pair_accuracy"] for line in lines] if "pair_accuracy" in lines[0] else None
    plots.loss_curve(steps, losses, workdir / "loss.png", accuracy=accuracy)
    _plot_pair(records, workdir / "pair.png")
    validation = records.split("validation")
    embeddings = encoder.embed(records, validation)
    _plot_map(embeddings, records, validation, workdir / "map.png")
    comparison = compare(encoder, records)
    if comparison:
        _print_table(comparison)
    else:
        print("\nno condition has enough labelled recordings here for a table")
    print()
    for what, picture in (
        ("loss curve", "loss.png"),
        ("positive pair", "pair.png"),
        ("embeddings", "map.png"),
    ):
        print(f"{what:15}{workdir / picture}")
    say_next(checkpoint, records, workdir)
    return comparison


def say_next(checkpoint: Path, records: Records, workdir: Path) -> None:
    """Prints where the checkpoint is and what to do with it."""
    print(f"checkpoint     {checkpoint}")
    print(
        f"next           python -m ecgjax.launch.benchmark --checkpoint {workdir} --data {records.path} --tasks af mi"
    )


def compare(encoder: Encoder, records: Records, *, labelled: int = 200) -> Comparison | None:
    """AUROC on the validation split of a linear probe on `labelled` recordings, drawn half from cases.

    Mean over `SEEDS` draws, each with another random encoder. None where no condition has enough cases.
    """
    train, validation = records.split("train"), records.split("validation")
    train_labels, labels = records.labels(train), records.labels(validation)
    tasks = [task for name in TARGETS if _enough(task := TASKS[name], train_labels, labels)]
    if not tasks:
        return None
    labelled = min(labelled, len(train))
    console.print(f"comparing with a random encoder on {', '.join(task.name for task in tasks)}")
    draws = {
        (task.name, seed): train[
            draw_labelled(
                task.targets(train_labels)[0],
                records.patients[train],
                labelled,
                seed=seed,
                balanced=True,
            )
        ]
        for task in tasks
        for seed in range(SEEDS)
    }
    needed = np.unique(np.concatenate([validation, *draws.values()]))
    pretrained = encoder.embed(records, needed)
    randoms = [untrained_twin(encoder, seed=seed).embed(records, needed) for seed in range(SEEDS)]
    ways = {"random": randoms, "pretrained": [pretrained] * SEEDS}
    scores = {way: np.zeros((SEEDS, len(validation), len(tasks)), np.float32) for way in ways}
    for column, task in enumerate(tasks):
        for seed in range(SEEDS):
            drawn = draws[task.name, seed]
            truth, _ = task.targets(records.labels(drawn))
            for way, embeddings in ways.items():
                seen = embeddings[seed][np.searchsorted(needed, drawn)]
                probe = linear_probe.fit(seen, truth, records.patients[drawn], seed=seed)
                tested = embeddings[seed][np.searchsorted(needed, validation)]
                scores[way][seed, :, column] = probe.scores(tested)[:, 0]
    truth = np.concatenate([task.targets(labels)[0] for task in tasks], axis=1)
    bootstrap = patient_bootstrap(truth, scores, records.patients[validation])
    return Comparison(labelled, [task.name for task in tasks], bootstrap)


def _plot_pair(records: Records, path: Path) -> None:
    """The first patient of the training split with two recordings, else one recording."""
    train = records.split("train")
    _, first, count = np.unique(records.patients[train], return_index=True, return_counts=True)
    patient = records.patients[train[first[count > 1].min() if (count > 1).any() else 0]]
    pair = train[records.patients[train] == patient][:2]
    titles = [_title(records.row(index)) for index in pair]
    plots.ecg_sheet(list(records.read(pair)), path, rate_hz=records.rate_hz, titles=titles)


def _title(row: dict) -> str:
    when = f"{row['recorded_at']:%Y-%m-%d}" if row["recorded_at"] else None
    age = f"{row['age']:.0f} years" if row["age"] is not None else None
    known = [f"patient {row['patient_id'][:6]}", when, age, row["sex"], " ".join(row["labels"])]
    return "   ".join(part for part in known if part)


def _plot_map(embeddings: np.ndarray, records: Records, indices: np.ndarray, path: Path) -> None:
    """Embeddings in two dimensions, each coloured by the first of the conditions that it shows."""
    shown, points = plots.reduce_to_2d(embeddings)
    labels = records.labels(indices[shown])
    conditions = np.full(len(shown), "other", object)
    for name in reversed(TARGETS):
        conditions[TASKS[name].targets(labels)[0][:, 0] == 1] = name
    plots.embedding_map(
        points,
        list(conditions),
        path,
        title=f"embeddings, {records.name}",
        patients=records.patients[indices[shown]],
    )


def _enough(task: Task, train_labels: list, labels: list) -> bool:
    counts = [task.targets(some)[0].sum() for some in (train_labels, labels)]
    return min(counts) >= LEAST_CASES and max(counts) < len(train_labels)


def _print_table(comparison: Comparison) -> None:
    print(f"\nAUROC of a linear probe on {comparison.labelled} labelled recordings")
    print(f"validation patients, mean of {SEEDS} draws; random is the same encoder, untrained\n")
    print(f"{'':12}{'random':>8}{'pre-trained':>13}   gain (95 % interval)")
    auroc = comparison.auroc
    columns = [
        auroc.per_class("random"),
        auroc.per_class("pretrained"),
        auroc.per_class("pretrained", minus="random"),
    ]
    for name, random, pretrained, gain in zip(comparison.conditions, *columns, strict=True):
        print(_line(name, random, pretrained, gain))
    print(
        _line(
            "mean",
            auroc.macro("random"),
            auroc.macro("pretrained"),
            auroc.macro("pretrained", minus="random"),
        )
    )


def _line(name: str, random: Interval, pretrained: Interval, gain: Interval) -> str:
    interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{name:12}{random.value:8.3f}{pretrained.value:13.3f}   {interval}"
