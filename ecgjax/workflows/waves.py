"""Waves as a target of `finetune`: P, QRS, T or none at each sample.

Dice coefficients say how much of the waves overlaps; onsets and offsets, which intervals such as PR
and QT are made of, have F1 and errors in ms (`ecgjax.evaluate.boundaries`).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.adapt.parts.classifier import Adapted
from ecgjax.adapt.parts.segmenter import TrainedSegmenter, read_wave_labels
from ecgjax.adapt.parts.training import Labelled
from ecgjax.data.records import Records
from ecgjax.evaluate import boundaries, wave_sheet
from ecgjax.evaluate.boundaries import AAMI_MS, BOUNDARIES, TOLERANCE_MS
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.predictions import Predictions
from ecgjax.evaluate.scores import as_list, results_by_class
from ecgjax.outputs import Outputs
from ecgjax.pretrained import Encoder
from ecgjax.signals import WAVES
from ecgjax.workflows.low_label import LabelledRecordings, Labels, draw_labelled

EXAMPLES = 3
"""Number of test recordings in waves.png."""


@dataclasses.dataclass(frozen=True)
class Waves:
    """The wave at each sample (P, QRS, T or none)."""

    name = "waves"
    classes = WAVES
    outputs = Outputs("waves", "classes", WAVES)
    tested_classes = WAVES[1:]
    metric = "Dice"
    default_encoder = "unet1d"
    per_sample = True
    is_named = True
    heading = "Dice"
    adjective = "marked"
    name_width = 8
    printed_files = {"segmenter": "checkpoints", "figures": "metrics.json", "examples": "waves.png"}

    def select(self, records: Records, indices: np.ndarray, rate_hz: float) -> LabelledRecordings:
        """Returns all of the recordings with the wave of each sample at `rate_hz`."""
        return LabelledRecordings(records, indices, read_wave_labels(records, indices, rate_hz))

    def draw(
        self,
        records: Records,
        indices: np.ndarray,
        labels: Labels,
        *,
        seed: int,
        rate_hz: float,
    ) -> LabelledRecordings:
        """Draws some of the recordings, of as many patients as possible.

        A person who marks waves by hand would choose recordings of different patients, too.
        """
        no_targets = np.zeros((len(indices), 1), np.float32)
        patients = records.patients[indices]
        count = labels.number(len(indices))
        drawn = draw_labelled(no_targets, patients, count, seed=seed, spread=True)
        return self.select(records, indices[drawn], rate_hz)

    def trained(
        self, adapted: Adapted, encoder: Encoder, labelled: Labelled, config: dict
    ) -> TrainedSegmenter:
        """Returns the trained model; its `predict_records` gives the wave of each sample."""
        return TrainedSegmenter(adapted, encoder)

    def results(self, predictions: Predictions, rate_hz: float) -> dict:
        """Returns Dice coefficients and boundary figures for metrics.json.

        Args:
          predictions: true and predicted waves.
          rate_hz: sampling rate of the waves, in Hz.
        """
        model = {"model": predictions.predicted}
        bootstrap = dice_bootstrap(predictions.truth, model, predictions.patients)
        by_class = results_by_class(self.tested_classes, bootstrap)
        dice = by_class | {"mean": as_list(bootstrap.macro("model"))}
        return {"dice": dice, "boundaries": boundary_results(predictions, rate_hz)}

    def table_rows(self, results: dict) -> dict[str, list[float]]:
        """Returns the rows of the printed table."""
        return results["dice"]

    def details(self, test: str, results: dict) -> list[str]:
        """Returns the lines on the boundaries of one test."""
        head = ("F1", "sensitivity", "PPV", "error, ms", f"F1 within {AAMI_MS:g} ms")
        title = f"{test}, boundaries"
        width = max(len(title), 12) + 2
        lines = ["", title.ljust(width) + _columns(head)]
        for name, figures in results["boundaries"].items():
            cells = [_interval(figures["f1"])]
            cells += [_number(figures.get(key), ".3f") for key in ("sensitivity", "ppv")]
            errors = [_number(figures.get(f"{key}_error_ms"), ".1f") for key in ("mean", "sd")]
            cells += [" +- ".join(filter(None, errors)), _interval(figures["f1_150_ms"])]
            lines.append(name.ljust(width) + _columns(cells))
        return [line.rstrip() for line in lines]

    def plot_examples(
        self, records: Records, test: Predictions, workdir: Path, *, rate_hz: float
    ) -> None:
        """Plots true and predicted waves of a few test recordings to waves.png."""
        number = len(test.recordings)
        shown = np.linspace(0, number - 1, min(EXAMPLES, number)).astype(int)
        wave_sheet.draw(
            records.read(test.recordings[shown]),
            test.truth[shown],
            test.predicted[shown],
            workdir / "waves.png",
            signal_hz=records.rate_hz,
            labels_hz=rate_hz,
        )


def boundary_results(predictions: Predictions, rate_hz: float) -> dict[str, dict[str, Any]]:
    """Returns the figures of each boundary, and their mean F1, for metrics.json."""
    narrow, f1 = _count(predictions, rate_hz, TOLERANCE_MS)
    wide, wide_f1 = _count(predictions, rate_hz, dict.fromkeys(BOUNDARIES, AAMI_MS))
    results: dict[str, dict[str, Any]] = {}
    for column, name in enumerate(BOUNDARIES):
        errors_ms = wide.errors_ms[column]
        known = len(errors_ms) > 0
        results[name] = {
            "marked": int(narrow.marked[:, column].sum()),
            "predicted": int(narrow.predicted[:, column].sum()),
            "tolerance_ms": TOLERANCE_MS[name],
            "f1": as_list(f1.per_class("model")[column]),
            "sensitivity": round(float(narrow.sensitivity[column]), 4),
            "ppv": round(float(narrow.ppv[column]), 4),
            "f1_150_ms": as_list(wide_f1.per_class("model")[column]),
            "sensitivity_150_ms": round(float(wide.sensitivity[column]), 4),
            "ppv_150_ms": round(float(wide.ppv[column]), 4),
            "mean_error_ms": round(float(errors_ms.mean()), 2) if known else None,
            "sd_error_ms": round(float(errors_ms.std()), 2) if known else None,
        }
    means = {"f1": as_list(f1.macro("model")), "f1_150_ms": as_list(wide_f1.macro("model"))}
    return results | {"mean": means}


def _count(
    predictions: Predictions, rate_hz: float, tolerances_ms: Mapping[str, float]
) -> tuple[boundaries.Counts, Any]:
    counts = boundaries.count_boundaries(
        predictions.truth, predictions.predicted, rate_hz=rate_hz, tolerances_ms=tolerances_ms
    )
    return counts, boundaries.f1_bootstrap(counts, predictions.patients)


def _columns(cells: Any) -> str:
    widths = (22, 13, 8, 17, 22)
    return "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _interval(interval: Any) -> str:
    """Returns a value with its interval as text, "-" if it is not defined."""
    value, low, high = (_number(part, ".3f") for part in interval)
    return f"{value} ({low}-{high})" if value and low else value or "-"


def _number(value: float | None, form: str) -> str:
    """Returns a number as text, "" if it is not defined."""
    return "" if value is None or np.isnan(value) else format(value, form)
