"""A supervised run from labels to test figures: what `ecgjax.launch.finetune` does."""

import json
from collections.abc import Sequence
from pathlib import Path

from ecgjax.adapt import Method
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.adapt.parts.classifier import predict
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.errors import InputError
from ecgjax.evaluate import plots, predictions
from ecgjax.evaluate.metrics import Interval, patient_bootstrap
from ecgjax.evaluate.predictions import TESTED, About, Predictions, described
from ecgjax.evaluate.tasks import Task
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder, load, untrained
from ecgjax.train.checkpoint import describe
from ecgjax.train.runlog import console, read_metrics
from ecgjax.workflows.low_label import draw_labelled, labelled, labels_wanted


def start_encoder(
    checkpoint: Path | None, name: str | None, *, seed: int, otherwise: str = "compact_resnet"
) -> tuple[Encoder, str]:
    """The encoder that training starts from, and its name: a checkpoint's, or `name` with random weights.

    Without both it is `otherwise`.

    Raises:
      InputError: the checkpoint is of another architecture than `name`.
    """
    if checkpoint is None:
        name = name or otherwise
        return untrained(name, Preprocessing(), seed=seed), name
    encoder = load(checkpoint)
    found = encoder.config["encoder"]["name"]
    if name not in (None, found):
        raise InputError(
            f"{checkpoint}: holds a {found}, not a {name}; leave --encoder out or give another checkpoint"
        )
    console.print(f"{checkpoint}: {found}, {encoder.restored} arrays restored")
    return encoder, found


def adapt_and_report(
    settings: Method,
    checkpoint: Path | None,
    encoder_name: str | None,
    *,
    data: Path,
    task: Task,
    labels: float | None,
    workdir: Path,
) -> dict:
    """Trains on the split train, tests on validation and test, prints a table.

    Writes metrics.json, predictions.npz and loss.png.

    Args:
      settings: the way of using labels.
      checkpoint: where it starts, or None for random weights.
      encoder_name: architecture; of a checkpoint it is known, from scratch there is a default.
      data: a prepared data set.
      task: what to predict.
      labels: labelled recordings: a share (below 1), a number, or None for all.
      workdir: where everything goes.

    Returns:
      What metrics.json holds.
    """
    if isinstance(settings, LocalContrast):
        raise InputError(
            f"--method local_contrast: it learns where waves are, not {task.name}; give --task waves"
        )
    encoder, name = start_encoder(checkpoint, encoder_name, seed=settings.seed)
    records = Records(data)
    indices, targets = labelled(records, task, "train")
    tested = {
        split: labelled(records, task, split) for split in TESTED
    }  # refused now, not at the end
    refuse_shared(records)
    for chosen, _ in tested.values():
        refuse_seen(encoder.seen, records, chosen)
    if labels is not None:
        count = labels_wanted(labels, len(indices))
        drawn = draw_labelled(
            targets, records.patients[indices], count, seed=settings.seed, balanced=task.is_single
        )
        indices, targets = indices[drawn], targets[drawn]
    config = run_config(
        encoder, name, records, task=task.name, classes=task.classes, labelled=len(indices)
    )
    run = Run(workdir, config, f"{task.name}, {len(indices)} labelled")
    adapted = settings.adapt(encoder, Labelled(records, indices, targets), run)
    predicted = {
        split: Predictions(
            chosen, records.patients[chosen], truth, predict(adapted, encoder, records, chosen)
        )
        for split, (chosen, truth) in tested.items()
    }
    by = described(settings, encoder=name, start=encoder.fingerprint, labelled=len(indices))
    about = About(task.name, tuple(task.classes), "AUROC", records.name, None, by)
    predictions.save(workdir, about, predicted)
    figures: dict = {"task": task.name, "data": records.name, "labelled": len(indices)}
    for split, of_split in predicted.items():
        bootstrap = patient_bootstrap(of_split.truth, {"model": of_split.found}, of_split.patients)
        figures[split] = {
            "recordings": len(of_split.recordings),
            "macro_auroc": figure(bootstrap.macro("model")),
            "auroc": dict(
                zip(task.classes, map(figure, bootstrap.per_class("model")), strict=True)
            ),
        }
    (workdir / "metrics.json").write_text(json.dumps(figures, indent=1))
    if lines := read_metrics(workdir):
        plots.loss_curve(
            [line["step"] for line in lines], [line["loss"] for line in lines], workdir / "loss.png"
        )
    _print(figures, workdir)
    return figures


def run_config(
    encoder: Encoder,
    name: str,
    records: Records,
    *,
    task: str,
    classes: Sequence[str],
    labelled: int,
) -> dict:
    """What a checkpoint says of a run with labels, besides the method's settings."""
    start = (
        encoder.config.get("pretraining", "random weights")
        if encoder.restored
        else "random weights"
    )
    return {
        **describe(name, encoder.module, encoder.preprocessing),
        "classes": list(classes),
        "task": task,
        "data": records.name,
        "labelled": labelled,
        "start": start,
    }


def figure(interval: Interval) -> list[float]:
    """An interval as it is written to metrics.json: value, lower and upper bound."""
    return [round(float(part), 4) for part in (interval.value, interval.low, interval.high)]


def _print(figures: dict, workdir: Path) -> None:
    print(
        f"\nAUROC, {figures['task']}, {figures['labelled']} labelled recordings (95 % interval over patients)"
    )
    print(f"{'':16}{'validation':>26}{'test':>26}")
    rows = {"macro": [figures[split]["macro_auroc"] for split in TESTED]}
    for name in figures["test"]["auroc"]:
        rows[name] = [figures[split]["auroc"][name] for split in TESTED]
    if len(rows) == 2:
        rows.pop("macro")
    for name, pair in rows.items():
        print(
            f"{name:16}"
            + "".join(
                f"{value:>12.3f} ({low:.3f}-{high:.3f})"[:26].rjust(26) for value, low, high in pair
            )
        )
    print(f"\nclassifier: {workdir / 'checkpoints'}\nfigures:    {workdir / 'metrics.json'}")
