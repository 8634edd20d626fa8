"""AUROC and its uncertainty: a bootstrap over patients, paired between methods."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.stats

from ecgjax.errors import InputError


def auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve of each class; tied scores count half.

    >>> auroc(np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.4], [0.35], [0.8]]))
    array([0.75])

    Args:
      targets: 0 or 1, [recording, class].
      scores: higher means more likely, [recording, class].

    Returns:
      float64 [class], NaN where a class has only one value in `targets`.

    Raises:
      InputError: the shapes differ or a score is NaN.
    """
    _check(targets, scores)
    cases = np.equal(targets, 1)
    positive = cases.sum(axis=0)
    negative = len(cases) - positive
    ranks = scipy.stats.rankdata(scores, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Mann-Whitney: the mean rank of the positives, less their mean rank among themselves.
        wins = (ranks * cases).sum(axis=0) / positive - (positive + 1) / 2
        return np.where(_has_both(cases), wins / negative, np.nan)


def macro_auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean AUROC over the classes with both values in `targets`, NaN without any."""
    values = auroc(targets, scores)
    defined = ~np.isnan(values)
    return float(values[defined].mean()) if defined.any() else float("nan")


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """AUROC (or Dice coefficients) of several methods on one test set and on its resamples.

    The methods share the resamples of patients, so that differences between methods are paired.
    A class with only one value in the test set has NaN and is left out of the macro mean.
    """

    values: dict[str, np.ndarray]
    """Value of each method on the whole test set, [class]."""
    draws: dict[str, np.ndarray]
    """Value of each method on each resample, [draw, class]; a row is one resample of patients."""
    level: float
    """Confidence level of the intervals."""

    def macro(self, method: str, *, minus: str | None = None) -> Interval:
        """Returns the macro AUROC of a method, or its paired difference from method `minus`."""
        value, draws = self._difference(method, minus)
        defined = ~np.isnan(value)
        return self._interval(value[defined].mean(), draws[:, defined].mean(axis=1))

    def per_class(self, method: str, *, minus: str | None = None) -> list[Interval]:
        """Returns the AUROC of each class, or its paired difference from method `minus`."""
        value, draws = self._difference(method, minus)
        return [self._interval(value[k], draws[:, k]) for k in range(len(value))]

    def _difference(self, method: str, minus: str | None) -> tuple[np.ndarray, np.ndarray]:
        if minus is None:
            return self.values[method], self.draws[method]
        return self.values[method] - self.values[minus], self.draws[method] - self.draws[minus]

    def _interval(self, value: float, draws: np.ndarray) -> Interval:
        draws = draws[~np.isnan(draws)]
        if not len(draws):
            return Interval(float(value), float("nan"), float("nan"))
        low, high = np.quantile(draws, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Interval(float(value), float(low), float(high))


def patient_bootstrap(
    targets: np.ndarray,
    scores: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Computes AUROC with percentile intervals from a bootstrap over patients.

    Patients are drawn with replacement, each with all recordings. A resample without a positive or
    without a negative recording of some class is drawn again: the intervals are those of test sets
    that contain every class. For a method with several seeds the value is the mean AUROC over
    seeds. The interval describes the variation between patients, not between seeds.

    Args:
      targets: 0 or 1, [recording, class].
      scores: scores of each method, [recording, class] or [seed, recording, class].
      patients: patient of each recording, [recording].
      draws: number of resamples.
      level: confidence level.
      seed: random seed of the resamples.

    Raises:
      InputError: the shapes differ, a score is NaN, no class has both values, or a class is too
        rare to resample.
    """
    cases = np.equal(targets, 1)
    if not _has_both(cases).any():
        raise InputError(
            "targets: no class has positive and negative recordings; choose a larger test set"
        )
    if len(patients) != len(cases):
        raise InputError(
            f"{len(cases)} recordings and {len(patients)} patients: give one for each recording"
        )
    stacks = {
        name: np.asarray(stack).reshape(-1, *np.shape(stack)[-2:]) for name, stack in scores.items()
    }
    values = {
        name: np.mean([auroc(targets, seed_scores) for seed_scores in stack], axis=0)
        for name, stack in stacks.items()
    }
    _, patient = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    block = int(np.clip(2**20 // len(cases), 1, 128))  # a few MB at a time
    drawn = {name: np.empty((draws, cases.shape[1])) for name in stacks}
    for start in range(0, draws, block):
        weights = _resample(cases, patient, min(block, draws - start), rng)
        for name, stack in stacks.items():
            drawn[name][start : start + block] = _resampled_auroc(cases, stack, weights)
    return Bootstrap(values, drawn, level)


def _resample(
    cases: np.ndarray, patient: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws resamples that contain every class.

    Returns:
      Number of times that each recording occurs in each resample, float32 [recording, draw].
    """
    number = patient.max() + 1
    required = cases[:, _has_both(cases)]
    required = np.concatenate([required, ~required], axis=1).astype(np.float32)
    accepted = np.empty((len(patient), 0), np.float32)
    for _ in range(1000):
        drawn = rng.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number)
        weights = times.T[patient].astype(np.float32)
        complete = (required.T @ weights > 0).all(axis=0)
        accepted = np.concatenate([accepted, weights[:, complete]], axis=1)
        if accepted.shape[1] >= draws:
            return accepted[:, :draws]
    minority = np.minimum(cases.sum(axis=0), (~cases).sum(axis=0))
    rarest = np.where(minority > 0, minority, len(cases)).argmin()
    raise InputError(
        f"targets: class {rarest} is too rare for resampling; leave it out or pool test sets"
    )


def _resampled_auroc(cases: np.ndarray, stack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns AUROC [draw, class], mean over the seeds of `stack` [seed, recording, class].

    `weights` [recording, draw] is the number of times that a recording counts.
    """
    values = np.full((weights.shape[1], cases.shape[1]), np.nan)
    for k in np.flatnonzero(_has_both(cases)):
        each_seed = [_weighted_auroc(cases[:, k], scores[:, k], weights) for scores in stack]
        values[:, k] = np.mean(each_seed, axis=0)
    return values


def _weighted_auroc(case: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns AUROC [draw] of one class: the weighted share of (case, control) pairs in order."""
    cases = weights[case]
    controls = weights[~case]
    order = np.argsort(scores[~case])
    ranked = scores[~case][order]
    cumulative = np.zeros((len(controls) + 1, weights.shape[1]), weights.dtype)
    np.cumsum(controls[order], axis=0, out=cumulative[1:])  # total weight of the k lowest controls
    less = cumulative[np.searchsorted(ranked, scores[case], "left")]
    at_most = cumulative[np.searchsorted(ranked, scores[case], "right")]
    wins = np.einsum("rd,rd->d", cases, less + at_most)
    return wins / (2 * cases.sum(axis=0) * controls.sum(axis=0))


def _has_both(cases: np.ndarray) -> np.ndarray:
    return np.logical_and(cases.any(axis=0), ~cases.all(axis=0))


def _check(targets: np.ndarray, scores: np.ndarray) -> None:
    if np.shape(targets) != np.shape(scores) or np.ndim(targets) != 2:
        shapes = f"targets {np.shape(targets)} and scores {np.shape(scores)}"
        raise InputError(f"{shapes}: give both as [recording, class]")
    if np.isnan(scores).any():
        raise InputError(
            f"scores: {np.isnan(scores).sum()} of {np.size(scores)} are NaN; give finite scores"
        )
