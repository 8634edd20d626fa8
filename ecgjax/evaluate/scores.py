"""The metrics of each kind of target."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from sklearn.metrics import roc_curve

from ecgjax.evaluate.bootstrap import Bootstrap, Interval
from ecgjax.evaluate.metrics import auroc, has_both, patient_bootstrap
from ecgjax.evaluate.regression import (
    NUMBER_METRICS,
    accuracy_bootstrap,
    each_output,
    number_bootstraps,
    r2,
)
from ecgjax.outputs import Kind

RECALL = "recall"
"""Metric of classes whose mean is the balanced accuracy."""
BALANCED_ACCURACY = "balanced accuracy"
"""Mean recall of the classes."""
MAIN_METRIC = {"labels": "AUROC", "classes": "AUROC", "numbers": "R2"}
"""Metric that stands for a kind of target where there is room for one; higher is better."""
DEFAULT_THRESHOLD = 0.5
"""Threshold of a label that has no case, or no control, to choose one by."""


def measure(
    kind: Kind, truth: np.ndarray, predicted: Mapping[str, np.ndarray], patients: np.ndarray
) -> dict[str, Bootstrap]:
    """Computes the metrics of one test set, with the main metric first.

    Labels have AUROC, classes AUROC (each against all others) and recall, and numbers R2, MAE and
    Pearson's r; see the functions that are called.

    Args:
      kind: kind of the targets.
      truth: float32 [recording, output], with NaN where there is no label.
      predicted: predictions of each method, [recording, output] or [seed, recording, output].
      patients: patient of each recording, [recording].

    Raises:
      InputError: the shapes differ, or a prediction is NaN.
    """
    if kind == "numbers":
        return number_bootstraps(truth, predicted, patients)
    results = {"AUROC": patient_bootstrap(truth, predicted, patients)}
    if kind == "classes":
        results[RECALL] = accuracy_bootstrap(truth, predicted, patients)
    return results


def main_metric(kind: Kind, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns the main metric of each output, [output]; arguments as of `measure`."""
    if kind == "numbers":
        return each_output(r2, truth, predicted[None], np.ones((len(truth), 1)))[0]
    return auroc(truth, predicted)


class Measured(Protocol):
    """A metric of several methods with its intervals: a `Bootstrap` or `LabelDraws`."""

    def macro(self, method: str, *, minus: str | None = None) -> Interval:
        """Returns the mean over classes of a method, or its paired difference from `minus`."""
        ...

    def per_class(self, method: str, *, minus: str | None = None) -> list[Interval]:
        """Returns the value of each class, or its paired difference from method `minus`."""
        ...


def figures(
    metric: str,
    names: Sequence[str],
    measured: Measured,
    method: str,
    *,
    minus: str | None = None,
) -> dict[str, Interval]:
    """Returns the figures of one metric under the names that tables show.

    Args:
      metric: name of the metric, as `measure` returns it.
      names: names of the outputs.
      measured: the metric of all methods.
      method: the method.
      minus: method whose paired difference is wanted.
    """
    mean = measured.macro(method, minus=minus)
    if metric == RECALL:
        return {BALANCED_ACCURACY: mean}
    each = dict(zip(names, measured.per_class(method, minus=minus), strict=True))
    if metric in NUMBER_METRICS:
        return {metric if len(each) == 1 else f"{name} {metric}": each[name] for name in each}
    return each if len(each) == 1 else {"mean": mean} | each


def youden_thresholds(truth: np.ndarray, probabilities: np.ndarray) -> tuple[float, ...]:
    """Returns the probability from which on each label counts as present.

    It has the largest sensitivity + specificity - 1 (Youden 1950, Cancer 3:32-35), and is
    `DEFAULT_THRESHOLD` for a label without cases or controls.

    Args:
      truth: 0 or 1, or NaN where there is no label, [recording, label].
      probabilities: predictions, [recording, label].
    """
    thresholds = []
    for target, probability, is_known in zip(
        truth.T, probabilities.T, has_both(truth), strict=True
    ):
        known = ~np.isnan(target)
        best = DEFAULT_THRESHOLD
        if is_known:
            false, true, candidates = roc_curve(target[known], probability[known])
            chosen = candidates[np.argmax(true - false)]
            best = float(chosen) if np.isfinite(chosen) else DEFAULT_THRESHOLD
        thresholds.append(best)
    return tuple(thresholds)


def sensitivity_specificity(
    truth: np.ndarray, probabilities: np.ndarray, thresholds: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Returns the shares of cases and of controls that each threshold tells; NaN without any."""
    shares = []
    for target, probability, threshold in zip(truth.T, probabilities.T, thresholds, strict=True):
        positive = probability >= threshold
        cases = positive[target == 1]
        controls = ~positive[target == 0]
        means = [float(each.mean()) if len(each) else float("nan") for each in (cases, controls)]
        shares.append((means[0], means[1]))
    return shares


def threshold_figures(
    names: Sequence[str],
    thresholds: tuple[float, ...],
    tests: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, dict]:
    """Returns the threshold of each label, with its sensitivity and specificity in each test.

    Args:
      names: the labels.
      thresholds: a probability for each label.
      tests: (truth, predictions) of each test, both [recording, label].
    """
    rows: dict[str, dict] = {
        name: {"threshold": threshold} for name, threshold in zip(names, thresholds, strict=True)
    }
    for test, (truth, predicted) in tests.items():
        shares = sensitivity_specificity(truth, predicted, thresholds)
        for name, pair in zip(names, shares, strict=True):
            rows[name][test] = [round(share, 4) for share in pair]
    return rows


def results_by_class(classes: Sequence[str], bootstrap: Bootstrap) -> dict[str, list[float]]:
    """Returns the intervals of the method "model" by class, as in metrics.json."""
    intervals = bootstrap.per_class("model")
    return {name: as_list(each) for name, each in zip(classes, intervals, strict=True)}


def as_list(interval: Interval) -> list[float]:
    """Returns an interval as in metrics.json: value, lower and upper bound."""
    parts = (float(part) for part in (interval.value, interval.low, interval.high))
    # Six digits of what is larger than 1 (an error in its own unit), six decimals of the others.
    return [float(f"{part:.6g}") if abs(part) > 1 else round(part, 6) for part in parts]
