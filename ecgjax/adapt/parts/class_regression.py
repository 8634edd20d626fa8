"""Classes from standardised features: multinomial logistic regression."""

import numpy as np

from ecgjax.adapt.parts.label_regression import FALLBACK_STRENGTH, STRENGTHS
from ecgjax.adapt.parts.logistic_regression import Regressions
from ecgjax.adapt.parts.number_regression import group_folds
from ecgjax.evaluate.metrics import macro_auroc

ABSENT = 20.0
"""Difference of the intercept of a class without a training recording from the lowest other one."""


def fit_classes(
    features: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fits the probabilities of classes of which each recording has exactly one.

    C is chosen by cross-validation over patients: the candidate with the highest macro AUROC of the
    classes, each against all others, mean over folds.

    Args:
      features: standardised, float32 [recording, feature].
      targets: one-hot, or NaN where there is no label, [recording, class].
      patients: patient of each recording, [recording].
      seed: random seed of the folds.

    Returns:
      Weights [class, feature], intercepts [class] and C.
    """
    known = np.all(~np.isnan(targets), axis=1)
    cases = np.equal(targets, 1) & known[:, None]
    present = np.any(cases, axis=0)
    weights = np.zeros((len(present), features.shape[1]), np.float32)
    bias = np.zeros(len(present), np.float32)
    if present.sum() > 1:
        cases = cases[:, present]
        regressions = Regressions(features)
        c = _choose_strength(regressions, features, cases, known, patients, seed=seed)
        solution, bias[present] = regressions.fit_classes(cases, known, c)
        weights[present] = solution.T
    else:
        c = FALLBACK_STRENGTH
    bias[~present] = bias[present].min(initial=0.0) - ABSENT
    return weights, bias, c


def _choose_strength(
    regressions: Regressions,
    features: np.ndarray,
    cases: np.ndarray,
    known: np.ndarray,
    patients: np.ndarray,
    *,
    seed: int,
) -> float:
    values = []
    for held_out in group_folds(known, patients, seed=seed):
        fits = [regressions.fit_classes(cases, known & ~held_out, c) for c in STRENGTHS]
        tested = features[held_out]
        values.append([macro_auroc(cases[held_out], tested @ each[0] + each[1]) for each in fits])
    defined = [fold for fold in values if not np.isnan(fold).any()]
    if not defined:
        return FALLBACK_STRENGTH
    return STRENGTHS[int(np.mean(defined, axis=0).argmax())]
