"""Training with labels, from a prepared data set to test results: the workflow of `finetune`."""

import json
from pathlib import Path

import numpy as np

from ecgjax.adapt import Method
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.errors import InputError
from ecgjax.evaluate import plots, predictions
from ecgjax.evaluate.predictions import (
    TESTED_SPLITS,
    Predictions,
    RunDescription,
    describe_run,
)
from ecgjax.preprocessing import Preprocessing, absent_leads_note
from ecgjax.pretrained import Encoder, load, untrained
from ecgjax.train.manifest import encoder_config
from ecgjax.train.runlog import console, read_metrics
from ecgjax.workflows.low_label import ALL, Labels
from ecgjax.workflows.targets import Target, Waves


def finetune(
    settings: Method,
    target: Target,
    data: Path,
    workdir: Path,
    *,
    labels: Labels = ALL,
    checkpoint: Path | None = None,
    encoder_name: str | None = None,
) -> dict:
    """Trains on the training split, tests on validation and test, and prints a table.

    Writes checkpoints, metrics.json, predictions.npz and loss.png; waves.png as well for `Waves`.

    Args:
      settings: the method with its settings.
      target: the conditions of a task, or the waves.
      data: folder of a prepared data set.
      workdir: folder of the run. A run that was stopped there resumes.
      labels: number of labelled recordings to train on.
      checkpoint: the pre-trained encoder; None trains from random weights.
      encoder_name: architecture to train from random weights; see `start_encoder`.

    Returns:
      The content of metrics.json.

    Raises:
      InputError: method and target do not fit, the encoder was trained on test recordings, or
        splits share patients.
    """
    _refuse_mismatch(settings, target)
    encoder, name = start_encoder(
        checkpoint, encoder_name, seed=settings.seed, default=target.default_encoder
    )
    rate_hz = encoder.preprocessing.rate_hz
    records = Records(data)
    if note := absent_leads_note(encoder.preprocessing, records.leads, records.name):
        console.print(note)
    available = target.recordings(records, "train")
    # Test recordings are checked now: a problem with them should not appear after training.
    tested = {split: target.recordings(records, split) for split in TESTED_SPLITS}
    refuse_shared(records)
    for indices in tested.values():
        refuse_seen(encoder.seen, records, indices)
    count = labels.number(len(available))
    drawn = target.draw(records, available, count, seed=settings.seed)
    labelled = Labelled(records, drawn, target.truth(records, drawn, rate_hz))
    config = _config(target, encoder, name, records, count)
    run = Run(workdir, config, f"{target.name}, {count} {target.adjective}")
    adapted = settings.adapt(encoder, labelled, run)
    tests = {
        split: _test(target, adapted, encoder, records, indices)
        for split, indices in tested.items()
    }
    description = RunDescription(
        target.name,
        target.tested_classes,
        target.metric,
        records.name,
        rate_hz if target.per_sample else None,
        describe_run(settings, encoder=name, start=encoder.fingerprint, labelled=count),
    )
    predictions.save(workdir, description, tests)
    results: dict = {"task": target.name, "data": records.name, "labelled": count}
    for split, test in tests.items():
        results[split] = {"recordings": len(test.recordings), **target.results(test)}
    (workdir / "metrics.json").write_text(json.dumps(results, indent=1))
    _plot_loss(workdir)
    target.plot_examples(records, tests["test"], workdir, rate_hz=rate_hz)
    _print_table(target, results, workdir)
    return results


def _refuse_mismatch(settings: Method, target: Target) -> None:
    """Raises InputError unless the method fits the target: local contrast learns only waves."""
    if isinstance(settings, LocalContrast) != isinstance(target, Waves):
        given = f"--task {target.name} with {type(settings).__name__}"
        rule = "--task waves and --method local_contrast belong together"
        raise InputError(f"{given}: {rule}; give both or neither")


def start_encoder(
    checkpoint: Path | None, name: str | None, *, seed: int, default: str
) -> tuple[Encoder, str]:
    """Returns the encoder that training starts from, and the name of its architecture.

    Args:
      checkpoint: checkpoint of a pre-trained encoder, or None for random weights.
      name: architecture; with a checkpoint it must be the checkpoint's.
      seed: seed of random weights.
      default: architecture for random weights if no name is given.

    Raises:
      InputError: the checkpoint has another architecture than `name`.
    """
    if checkpoint is None:
        name = name or default
        return untrained(name, Preprocessing(), seed=seed), name
    encoder = load(checkpoint)
    restored = encoder.config["encoder"]["name"]
    if name not in (None, restored):
        problem = f"{checkpoint}: holds a {restored}, not a {name}"
        raise InputError(f"{problem}; leave --encoder out or give another checkpoint")
    console.print(f"{checkpoint}: {restored}, {encoder.restored} arrays restored")
    return encoder, restored


def _config(target: Target, encoder: Encoder, name: str, records: Records, count: int) -> dict:
    """Returns the config of a run's checkpoints; the method adds its settings."""
    return {
        **encoder_config(name, encoder.module, encoder.preprocessing),
        "classes": list(target.classes),
        "task": target.name,
        "data": records.name,
        "labelled": count,
        "start": encoder.config.get("pretraining", "random weights"),
    }


def _test(
    target: Target, adapted: Adapted, encoder: Encoder, records: Records, indices: np.ndarray
) -> Predictions:
    return Predictions(
        indices,
        records.patients[indices],
        target.truth(records, indices, encoder.preprocessing.rate_hz),
        target.predict(adapted, encoder, records, indices),
    )


def _plot_loss(workdir: Path) -> None:
    """Plots the loss to loss.png if the method trains step by step."""
    lines = read_metrics(workdir)
    if lines:
        steps = [line["step"] for line in lines]
        plots.loss_curve(steps, [line["loss"] for line in lines], workdir / "loss.png")


def _print_table(target: Target, results: dict, workdir: Path) -> None:
    """Prints value and interval of each class on both splits, and the files to look at."""
    recordings = f"{results['labelled']} {target.adjective} recordings"
    print(f"\n{target.heading}, {recordings} (95 % interval over patients)")
    print(" " * target.name_width + "".join(f"{split:>26}" for split in TESTED_SPLITS))
    columns = [target.table_rows(results[split]) for split in TESTED_SPLITS]
    for name in columns[0]:
        intervals = [column[name] for column in columns]
        cells = [f"{value:.3f} ({low:.3f}-{high:.3f})" for value, low, high in intervals]
        print(f"{name:{target.name_width}}" + "".join(f"{cell:>26}" for cell in cells))
    print()
    width = max(map(len, target.outputs)) + 2
    for title, file in target.outputs.items():
        print(f"{title + ':':{width}}{workdir / file}")
