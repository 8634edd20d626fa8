"""Where P, QRS and T are: a run with few marked recordings, tested by Dice coefficients."""

import json
from pathlib import Path

import numpy as np

from ecgjax.adapt import Method
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.adapt.segmenter import read_marks, segment
from ecgjax.adapt.training import Labelled, Run
from ecgjax.data.records import Records
from ecgjax.data.seen import refuse_seen, refuse_shared
from ecgjax.evaluate import plots, wave_sheet
from ecgjax.evaluate.low_label import draw_labelled, labels_wanted
from ecgjax.evaluate.metrics import Interval
from ecgjax.evaluate.supervised import figure, run_config, start_encoder
from ecgjax.signals import UNMARKED, WAVES, InputError
from ecgjax.train.runlog import read_metrics

TASK = "waves"
TESTED = ("validation", "test")
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
    """`adapt_and_report` for the waves; writes metrics.json, loss.png and waves.png, prints a table.

    Raises:
      InputError: the method does not learn waves.
    """
    if not isinstance(settings, LocalContrast):
        raise InputError("--task waves: marks of single samples are learnt by --method local_contrast")
    encoder, name = start_encoder(checkpoint, encoder_name, seed=settings.seed, otherwise="unet1d")
    records, rate_hz = Records(data), encoder.preprocessing.rate_hz
    indices = records.split("train")
    refuse_shared(records)
    for split in TESTED:
        refuse_seen(encoder.seen, records, records.split(split))
    count = labels_wanted(labels, len(indices))
    nothing = np.zeros((len(indices), 1), np.float32)
    # Who marks waves by hand takes recordings of different patients.
    drawn = draw_labelled(nothing, records.patients[indices], count, seed=settings.seed, spread=True)
    indices = indices[drawn]
    config = run_config(encoder, name, records, task=TASK, classes=WAVES, labelled=len(indices))
    labelled = Labelled(records, indices, read_marks(records, indices, rate_hz))
    adapted = settings.adapt(encoder, labelled, Run(workdir, config, f"{TASK}, {len(indices)} marked"))
    figures: dict = {"task": TASK, "data": records.name, "labelled": len(indices)}
    for split in TESTED:
        chosen = records.split(split)
        truth, found = read_marks(records, chosen, rate_hz), segment(adapted, encoder, records, chosen)
        intervals = dice(truth, found, records.patients[chosen])
        figures[split] = {"recordings": len(chosen), "dice": {wave: figure(one) for wave, one in intervals.items()}}
    (workdir / "metrics.json").write_text(json.dumps(figures, indent=1))
    lines = read_metrics(workdir)
    plots.loss_curve([line["step"] for line in lines], [line["loss"] for line in lines], workdir / "loss.png")
    shown = np.linspace(0, len(chosen) - 1, min(SHOWN, len(chosen))).astype(int)
    wave_sheet.draw(
        records.read(chosen[shown]),
        [truth[shown], found[shown]],
        workdir / "waves.png",
        signal_hz=records.rate_hz,
        marks_hz=rate_hz,
    )
    _print(figures, workdir)
    return figures


def dice(
    truth: np.ndarray, found: np.ndarray, patients: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Dice coefficients over all samples of all recordings, with 95 % intervals from resampling patients.

    Over all at once, since a recording in atrial fibrillation has no P wave and so no coefficient of its own; a P wave
    that is found there counts as wrong.

    Args:
      truth: the class of each sample, [recording, time]; samples with `UNMARKED` are left out.
      found: the same, as predicted.
      patients: of each recording.
      draws: number of resamples.
      seed: of the resamples.

    Returns:
      "P", "QRS", "T", and "mean" of the three. NaN where a wave is in neither.
    """
    if truth.shape != found.shape or len(patients) != len(truth):
        raise InputError(f"marks {truth.shape} and {found.shape} of {len(patients)} recordings: give the same shapes")
    known, kinds = truth != UNMARKED, np.arange(1, len(WAVES))
    is_true, is_found = (known & (marks == kinds[:, None, None]) for marks in (truth, found))
    both = 2 * (is_true & is_found).sum(-1)  # [wave, recording]
    sizes = is_true.sum(-1) + is_found.sum(-1)
    _, patient = np.unique(patients, return_inverse=True)
    number, rng = patient.max() + 1, np.random.default_rng(seed)
    times = np.stack([np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(draws)])
    weights = np.concatenate([np.ones((1, len(patient))), times[:, patient]])  # as it is, then the resamples
    with np.errstate(invalid="ignore"):
        values = (weights @ both.T) / (weights @ sizes.T)
    values = np.concatenate([values, values.mean(1, keepdims=True)], axis=1)
    low, high = np.nanquantile(values[1:], [0.025, 0.975], axis=0)
    return {
        name: Interval(*map(float, one)) for name, *one in zip((*WAVES[1:], "mean"), values[0], low, high, strict=True)
    }


def _print(figures: dict, workdir: Path) -> None:
    print(f"\nDice, {figures['labelled']} marked recordings (95 % interval over patients)")
    print(f"{'':8}{'validation':>26}{'test':>26}")
    for name in figures["test"]["dice"]:
        rows = [figures[split]["dice"][name] for split in TESTED]
        print(f"{name:8}" + "".join(f"{value:.3f} ({low:.3f}-{high:.3f})".rjust(26) for value, low, high in rows))
    print(f"\nsegmenter: {workdir / 'checkpoints'}\nexamples:  {workdir / 'waves.png'}")
