"""Labels from standardised features: one logistic regression for each, with a shared strength."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import logit
from sklearn.model_selection import StratifiedKFold

from ecgjax.adapt.parts.logistic_regression import Regressions
from ecgjax.evaluate.metrics import auroc
from ecgjax.outputs import smoothed_shares

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Candidates for the inverse regularisation strength C, strongest regularisation first."""
FALLBACK_STRENGTH = 1e-2
"""C if no class can be cross-validated because only one patient has (or lacks) the condition."""
LARGE_SET = 5000
"""Number of recordings above which the first fold alone is used to choose C."""
BLOCK = 1 << 24
"""Number of recordings times regressions fitted at once: they take half a gigabyte of memory."""


def fit_labels(
    features: np.ndarray, targets: np.ndarray, patients: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Fits one regression to the known recordings of each label.

    C is chosen by cross-validation over patients: the candidate with the highest AUROC, mean over
    folds and classes. Log loss as the criterion regularises too strongly at n=50, because it
    punishes overconfidence, and the ranking suffers: AUROC of atrial fibrillation 0.66 instead of
    0.69 (random convolutions, PTB-XL, mean of 30 draws). A preference for strong regularisation is
    no better: with the shipped encoder, 50 and 100 labels, five tasks and five draws (fold 9), the
    mean AUROC is 0.849 as it is, 0.848 with candidates from 1e-4, 0.844 with the strongest C within
    one standard error of the best. Early beats lose by it what infarction gains. All classes share
    one C: a choice based on a class with two positives would be random.

    Args:
      features: standardised, float32 [recording, feature].
      targets: 0 or 1, or NaN where there is no label, [recording, class].
      patients: patient of each recording, [recording].
      seed: random seed of the folds.

    Returns:
      Weights [class, feature], intercepts [class], and C. A class that all (or none) of the
      recordings have gets weights of zero, and its share as the probability; see `smoothed_shares`.
    """
    regressions = Regressions(features)
    cases = np.equal(targets, 1)
    known = ~np.isnan(targets)
    both = cases.any(axis=0) & (known & ~cases).any(axis=0)
    c = _choose_strength(regressions, features, cases, known, patients, seed=seed)
    weights = np.zeros((cases.shape[1], features.shape[1]), np.float32)
    bias = logit(smoothed_shares(targets)).astype(np.float32)
    solution, bias[both] = regressions.fit(cases[:, both], known[:, both], np.full(both.sum(), c))
    weights[both] = solution.T
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
    splits = []
    for is_case, is_known in zip(cases.T, known.T, strict=True):
        for held_out in patient_folds(is_case[is_known], patients[is_known], seed=seed):
            fitted = is_known.copy()
            fitted[is_known] = ~held_out
            splits.append((is_case, fitted, is_known & ~fitted))
    if not splits:
        return FALLBACK_STRENGTH
    size = max(1, BLOCK // (len(features) * len(STRENGTHS)))
    blocks = (splits[start : start + size] for start in range(0, len(splits), size))
    values = [value for block in blocks for value in _held_out_auroc(regressions, features, block)]
    return STRENGTHS[int(np.mean(values, axis=0).argmax())]


def _held_out_auroc(
    regressions: Regressions, features: np.ndarray, splits: Sequence[tuple[np.ndarray, ...]]
) -> Iterator[np.ndarray]:
    """Yields the AUROC of each of `STRENGTHS`, for each split (is a case, fitted, held out)."""
    cases = np.stack([is_case for is_case, _, _ in splits], axis=1)
    fitted = np.stack([mask for _, mask, _ in splits], axis=1)
    weights, bias = regressions.fit(
        cases.repeat(len(STRENGTHS), axis=1),
        fitted.repeat(len(STRENGTHS), axis=1),
        np.tile(STRENGTHS, len(splits)),
    )
    scores = (features @ weights + bias).reshape(len(features), len(splits), len(STRENGTHS))
    for number, (is_case, _, mask) in enumerate(splits):
        tested = scores[mask, number]
        yield auroc(np.broadcast_to(is_case[mask, None], tested.shape), tested)


def patient_folds(is_case: np.ndarray, patients: np.ndarray, *, seed: int) -> Iterator[np.ndarray]:
    """Yields the recordings held out in each fold, as masks bool [recording].

    A patient's recordings are in the same fold, and each fold has its share of the patients with
    the condition. There are five folds, fewer if fewer patients have (or lack) the condition, and
    none if only one does. Above `LARGE_SET` recordings only the first fold is returned.
    """
    _, patient = np.unique(patients, return_inverse=True)
    has_condition = np.bincount(patient, weights=is_case) > 0
    number = min(5, int(has_condition.sum()), int((~has_condition).sum()))
    if number < 2:
        return
    splitter = StratifiedKFold(number, shuffle=True, random_state=seed)
    folds = splitter.split(has_condition, has_condition)
    for _, held_out in itertools.islice(folds, 1 if len(is_case) > LARGE_SET else number):
        yield np.isin(patient, held_out)
