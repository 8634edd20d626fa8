"""Figures of ranking on weighted recordings: AUROC, AUPRC and sensitivity at a specificity.

All come from the numbers of cases and of controls at or above each score. Each takes one class:
target 0 or 1 [recording], score [recording] and weights [recording, resample], and returns
float64 [resample], NaN for a resample without cases or without controls.
"""

import functools

import numpy as np

SPECIFICITIES = (0.90, 0.95)
"""Specificities at which sensitivity is reported."""
_ROUNDING = 1e-9
"""A share of controls that equals the allowed one up to rounding is allowed."""


def cumulative(
    target: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns cases and controls with at least each distinct score, from the highest score down.

    The first row is zero: no recording is above all scores.

    Returns:
      Two arrays, float64 [1 + distinct score, resample].
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of each tie
    ordered = weights[order]
    is_case = (target[order] == 1)[:, None]
    counts = np.zeros((2, 1 + len(last), weights.shape[1]))
    for i, counted in enumerate((ordered * is_case, ordered * ~is_case)):
        # Sums of counts are exact in float32 up to 16 million recordings.
        counts[i, 1:] = np.cumsum(counted, axis=0)[last]
    return counts[0], counts[1]


def _shares(counts: np.ndarray) -> np.ndarray:
    total = counts[-1]
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def auroc(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve; tied scores count half."""
    cases, controls = map(_shares, cumulative(target, score, weights))
    return np.trapezoid(cases, controls, axis=0)


def average_precision(target: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the area under the precision-recall curve (AUPRC), as a sum of steps.

    A score without information has the share of cases. Interpolation between points would be too
    optimistic (Davis & Goadrich 2006, ICML).
    """
    cases, controls = cumulative(target, score, weights)
    positive = cases + controls
    precision = np.divide(cases, positive, out=np.zeros_like(cases), where=positive > 0)
    area = (np.diff(_shares(cases), axis=0) * precision[1:]).sum(axis=0)
    return np.where(controls[-1] > 0, area, np.nan)


def sensitivity(
    target: np.ndarray, score: np.ndarray, weights: np.ndarray, *, specificity: float
) -> np.ndarray:
    """Returns the largest share of cases above a threshold with at least this specificity."""
    cases, controls = map(_shares, cumulative(target, score, weights))
    allowed = controls <= 1 - specificity + _ROUNDING
    best = np.where(allowed, cases, 0).max(axis=0)
    return np.where(np.isnan(controls[-1]), np.nan, best)


def sensitivities() -> dict[str, functools.partial]:
    """Returns `sensitivity` at each of `SPECIFICITIES`, by name."""
    return {
        f"sensitivity at {each:.0%} specificity": functools.partial(sensitivity, specificity=each)
        for each in SPECIFICITIES
    }
