"""Linear probe: logistic regression on frozen embeddings, tuned within the labelled recordings alone."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from ecgjax.signals import InputError

STRENGTHS = (1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation strengths C that are tried."""


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """One linear score per class, on standardised embeddings."""

    mean: np.ndarray
    """Of each feature over the labelled recordings, [feature]."""
    scale: np.ndarray
    """Standard deviation of each feature over the labelled recordings, [feature]."""
    weights: np.ndarray
    """[class, feature]; zero for a class with only one value in the labelled recordings: all its scores are 0."""
    bias: np.ndarray
    """[class]."""
    chosen_c: np.ndarray
    """The C of each class, [class]; NaN for a class with only one value."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Log-odds float32 [recording, class] of embeddings [recording, feature]."""
        standardised = (np.asarray(embeddings, np.float32) - self.mean) / self.scale
        return standardised @ self.weights.T + self.bias


def fit(embeddings: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int) -> LinearProbe:
    """Fit a probe to n labelled recordings: one-vs-rest, each class with its own regularisation.

    Args:
      embeddings: [recording, feature].
      targets: 0 or 1, [recording, class].
      patients: the patient of each recording, [recording].
      seed: of the folds.

    Raises:
      InputError: the three differ in their number of recordings, or an embedding is not finite.
    """
    if not len(embeddings) == len(targets) == len(patients):
        sizes = f"{len(embeddings)} embeddings, {len(targets)} targets, {len(patients)} patients"
        raise InputError(f"{sizes}: give one of each per recording")
    if not np.isfinite(embeddings).all():
        bad = int((~np.isfinite(embeddings)).any(axis=1).sum())
        raise InputError(f"embeddings: {bad} of {len(embeddings)} are not finite; check the encoder and its input")
    features = np.asarray(embeddings, np.float32)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A feature that hardly varies among the labelled recordings may vary elsewhere: its noise is not blown up.
    scale = np.maximum(deviation, 1e-3 * deviation.max() or 1.0)
    standardised = (features - mean) / scale
    classes = [_fit_class(standardised, column == 1, patients, seed=seed) for column in np.asarray(targets).T]
    weights, bias, chosen_c = (np.array(part, np.float32) for part in zip(*classes, strict=True))
    return LinearProbe(mean, scale, weights, bias, chosen_c)


def _fit_class(
    features: np.ndarray, is_case: np.ndarray, patients: np.ndarray, *, seed: int
) -> tuple[np.ndarray, float, float]:
    """Weights [feature], bias and C of one class."""
    if is_case.all() or not is_case.any():
        return np.zeros(features.shape[1]), 0.0, float("nan")
    c = _choose_c(features, is_case, patients, seed=seed)
    model = LogisticRegression(C=c, max_iter=1000).fit(features, is_case)
    return model.coef_[0], model.intercept_[0], c


def _choose_c(features: np.ndarray, is_case: np.ndarray, patients: np.ndarray, *, seed: int) -> float:
    """The C with the least log loss on held-out patients.

    Log loss and not AUROC: ...
    """
    losses = np.zeros(len(STRENGTHS))
    for held_out in _folds(is_case, patients, seed=seed):
        model = LogisticRegression(warm_start=True, max_iter=1000)
        for i, c in enumerate(STRENGTHS):
            model.set_params(C=c).fit(features[~held_out], is_case[~held_out])
            log_odds = model.decision_function(features[held_out])
            losses[i] += np.logaddexp(0, np.where(is_case[held_out], -log_odds, log_odds)).sum()
    return STRENGTHS[losses.argmin()] if losses.any() else DEFAULT


def _folds(is_case: np.ndarray, patients: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Masks [recording] of held-out recordings: patients are whole, and those with the condition spread evenly.

    Five folds, fewer where fewer patients have (or lack) the condition, none where only one has. From 5000 recordings on the first
    fold is enough.
    """
    _, patient = np.unique(patients, return_inverse=True)
    has_condition = np.bincount(patient, weights=is_case) > 0
    number = min(5, has_condition.sum(), (~has_condition).sum())
    if number < 2:
        return
    splits = StratifiedKFold(number, shuffle=True, random_state=seed).split(has_condition, has_condition)
    for _, held_out in splits:
        yield np.isin(patient, held_out)
        if len(is_case) > 5000:
            return
