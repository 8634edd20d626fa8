"""Numbers from standardised features: ridge regression."""

import itertools
from collections.abc import Iterator

import numpy as np
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold

from ecgjax.adapt.parts.label_regression import LARGE_SET

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for the inverse regularisation strength C = 1 / alpha, strongest first."""
FALLBACK_STRENGTH = 1e-3
"""C if the recordings cannot be cross-validated because they are of one patient."""


def fit_numbers(
    features: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fits one ridge regression to the known recordings of each output.

    C is chosen by cross-validation over patients: the candidate with the highest R2, mean over
    folds and outputs.

    Args:
      features: standardised, float32 [recording, feature].
      targets: standardised numbers, or NaN where there is no label, [recording, output].
      patients: patient of each recording, [recording].
      seed: random seed of the folds.

    Returns:
      Weights [output, feature], intercepts [output] and C.
    """
    known = ~np.isnan(targets)
    values = []
    for target, is_known in zip(targets.T, known.T, strict=True):
        for held_out in group_folds(is_known, patients, seed=seed):
            fitted = is_known & ~held_out
            if held_out.sum() < 2:  # R2 is not defined
                continue
            weights, bias = ridge(features[fitted], target[fitted], np.array(STRENGTHS))
            predicted = features[held_out] @ weights.T + bias
            values.append([r2_score(target[held_out], each) for each in predicted.T])
    c = STRENGTHS[int(np.mean(values, axis=0).argmax())] if values else FALLBACK_STRENGTH
    weights = np.zeros((targets.shape[1], features.shape[1]), np.float32)
    bias = np.zeros(targets.shape[1], np.float32)
    for k in np.flatnonzero(known.any(axis=0)):
        rows = known[:, k]
        (weights[k],), (bias[k],) = ridge(features[rows], targets[rows, k], np.array([c]))
    return weights, bias, c


def ridge(
    features: np.ndarray, target: np.ndarray, strengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fits ridge regressions with an unregularised intercept, one for each strength C.

    All share one decomposition. scikit-learn's objective is the same with alpha = 1 / C.

    Args:
      features: [recording, feature].
      target: a number for each recording, [recording].
      strengths: values of C, [strength].

    Returns:
      Weights [strength, feature] and intercepts [strength].
    """
    centre = features.mean(axis=0)
    level = target.mean()
    deviations = features - centre
    eigenvalues, axes = np.linalg.eigh((deviations.T @ deviations).astype(np.float64))
    along_axes = axes.T @ (deviations.T @ (target - level))
    shrunk = along_axes / (np.maximum(eigenvalues, 0) + 1 / strengths[:, None])
    weights = shrunk @ axes.T
    return weights, level - weights @ centre


def group_folds(known: np.ndarray, patients: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Yields the known recordings held out in each fold, as masks bool [recording].

    A patient's recordings are in the same fold. There are five folds, fewer if there are fewer
    patients, and none for one patient. Above `LARGE_SET` recordings only the first fold is
    returned.
    """
    rows = np.flatnonzero(known)
    number = min(5, len(np.unique(patients[rows])))
    if number < 2:
        return
    folds = GroupKFold(number, shuffle=True, random_state=seed).split(rows, groups=patients[rows])
    for _, tested in itertools.islice(folds, 1 if len(rows) > LARGE_SET else number):
        held_out = np.zeros(len(known), bool)
        held_out[rows[tested]] = True
        yield held_out
