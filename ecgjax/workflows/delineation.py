"""Where P, QRS and T are: a run with few marked recordings, tested by Dice coefficients."""

import json
from pathlib import Path

import numpy as np

from ecgjax.adapt import Method
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.adapt.parts.segmenter import read_marks, segment
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.errors import InputError
from ecgjax.evaluate import plots, predictions, wave_sheet
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.predictions import TESTED, About, Predictions, described
from ecgjax.signals import WAVES
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows.finetune import figure, run_config, start_encoder
from ecgjax.workflows.low_label import draw_labelled, labels_wanted

TASK = "waves"
SHOWN = 3
"""Test recordings on the example sheet."""


def delineate_and_report(
    settings: Method,
    checkpoint: Path | None,
    encoder_name: str | None,
    *,
    data: Path,
    labels: float | None,
    workdir: Path,
) -> dict:
    """`adapt_and_report` for the waves; writes waves.png besides.

    Raises:
      InputError: the method does not learn waves.
    """
    if not isinstance(settings, LocalContrast):
        raise InputError(
            "--task waves: marks of single samples are learnt by --method local_contrast"
        )
    encoder, name = start_encoder(checkpoint, encoder_name, seed=settings.seed, otherwise="unet1d")
    records, rate_hz = Records(data), encoder.preprocessing.rate_hz
    indices = records.split("train")
    refuse_shared(records)
    for split in TESTED:
        refuse_seen(encoder.seen, records, records.split(split))
    count = labels_wanted(labels, len(indices))
    nothing = np.zeros((len(indices), 1), np.float32)
    # Who marks waves by hand takes recordings of different patients.
    drawn = draw_labelled(
        nothing, records.patients[indices], count, seed=settings.seed, spread=True
    )
    indices = indices[drawn]
    config = run_config(encoder, name, records, task=TASK, classes=WAVES, labelled=len(indices))
    labelled = Labelled(records, indices, read_marks(records, indices, rate_hz))
    adapted = settings.adapt(
        encoder, labelled, Run(workdir, config, f"{TASK}, {len(indices)} marked")
    )
    predicted = {}
    for split in TESTED:
        chosen = records.split(split)
        truth, found = (
            read_marks(records, chosen, rate_hz),
            segment(adapted, encoder, records, chosen),
        )
        predicted[split] = Predictions(chosen, records.patients[chosen], truth, found)
    by = described(settings, encoder=name, start=encoder.fingerprint, labelled=len(indices))
    about = About(TASK, WAVES[1:], "Dice", records.name, rate_hz, by)
    predictions.save(workdir, about, predicted)
    figures: dict = {"task": TASK, "data": records.name, "labelled": len(indices)}
    for split, of_split in predicted.items():
        bootstrap = dice_bootstrap(of_split.truth, {"model": of_split.found}, of_split.patients)
        intervals = dict(zip(WAVES[1:], bootstrap.per_class("model"), strict=True)) | {
            "mean": bootstrap.macro("model")
        }
        dice = {wave: figure(interval) for wave, interval in intervals.items()}
        figures[split] = {"recordings": len(of_split.recordings), "dice": dice}
    (workdir / "metrics.json").write_text(json.dumps(figures, indent=1))
    lines = read_metrics(workdir)
    plots.loss_curve(
        [line["step"] for line in lines], [line["loss"] for line in lines], workdir / "loss.png"
    )
    test = predicted["test"]
    shown = np.linspace(0, len(test.recordings) - 1, min(SHOWN, len(test.recordings))).astype(int)
    wave_sheet.draw(
        records.read(test.recordings[shown]),
        [test.truth[shown], test.found[shown]],
        workdir / "waves.png",
        signal_hz=records.rate_hz,
        marks_hz=rate_hz,
    )
    _print(figures, workdir)
    return figures


def _print(figures: dict, workdir: Path) -> None:
    print(f"\nDice, {figures['labelled']} marked recordings (95 % interval over patients)")
    print(f"{'':8}{'validation':>26}{'test':>26}")
    for name in figures["test"]["dice"]:
        rows = [figures[split]["dice"][name] for split in TESTED]
        print(
            f"{name:8}"
            + "".join(f"{value:.3f} ({low:.3f}-{high:.3f})".rjust(26) for value, low, high in rows)
        )
    print(f"\nsegmenter: {workdir / 'checkpoints'}\nexamples:  {workdir / 'waves.png'}")
