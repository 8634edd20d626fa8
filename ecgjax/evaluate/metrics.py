"""AUROC, with a bootstrap over patients."""

from collections.abc import Mapping

import numpy as np
import scipy.stats

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Bootstrap, resamples


def auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the area under the ROC curve of each class; tied scores count half.

    >>> auroc(np.array([[0], [0], [1], [1]]), np.array([[0.1], [0.4], [0.35], [0.8]]))
    array([0.75])

    Args:
      targets: 0 or 1, or NaN where there is no label, [recording, class].
      scores: higher means more likely, [recording, class].

    Returns:
      float64 [class], NaN where a class has only one value in `targets`.

    Raises:
      InputError: the shapes differ or a score is NaN.
    """
    _check(targets, scores)
    cases = np.equal(targets, 1)
    controls = find_controls(targets)
    if not (cases | controls).all():
        columns = zip(targets.T, scores.T, cases.T | controls.T, strict=True)
        each = [auroc(target[known, None], score[known, None]) for target, score, known in columns]
        return np.concatenate(each)
    positive = cases.sum(axis=0)
    negative = controls.sum(axis=0)
    ranks = scipy.stats.rankdata(scores, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Mann-Whitney: the mean rank of the positives, less their mean rank among themselves.
        wins = (ranks * cases).sum(axis=0) / positive - (positive + 1) / 2
        return np.where(has_both(targets), wins / negative, np.nan)


def macro_auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean AUROC over the classes with both values in `targets`, NaN without any."""
    values = auroc(targets, scores)
    defined = ~np.isnan(values)
    return float(values[defined].mean()) if defined.any() else float("nan")


def find_controls(targets: np.ndarray) -> np.ndarray:
    """Returns True for a recording that is known not to have a class, bool [recording, class]."""
    return ~np.equal(targets, 1) & ~np.isnan(targets)


def has_both(targets: np.ndarray) -> np.ndarray:
    """Returns True for a class with cases and controls in `targets`, bool [class]."""
    return np.logical_and(np.equal(targets, 1).any(axis=0), find_controls(targets).any(axis=0))


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
    that contain every class. If the classes are too rare for that, every resample counts, and a
    class is left out of the resamples that do not contain it. For a method with several seeds the
    value is the mean AUROC over seeds. The interval describes the variation between patients, not
    between seeds.

    Args:
      targets: 0 or 1, or NaN where there is no label, [recording, class]. A class with only one
        value has NaN.
      scores: scores of each method, [recording, class] or [seed, recording, class].
      patients: patient of each recording, [recording].
      draws: number of resamples.
      level: confidence level.
      seed: random seed of the resamples.

    Raises:
      InputError: the shapes differ, or a score is NaN.
    """
    if len(patients) != len(targets):
        raise InputError(
            f"{len(targets)} recordings and {len(patients)} patients: give one for each recording"
        )
    stacks = as_stacks(scores)
    values = {
        name: np.mean([auroc(targets, seed_scores) for seed_scores in stack], axis=0)
        for name, stack in stacks.items()
    }
    blocks = resamples(required_recordings(targets), patients, draws=draws, seed=seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in stacks}
    for weights in blocks:
        for name, stack in stacks.items():
            drawn[name].append(_resampled_auroc(targets, stack, weights))
    joined = {name: np.concatenate(drawn[name]) for name in drawn}
    return Bootstrap.over(patients, values, joined, level)


def as_stacks(predicted: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns predictions as [seed, recording, output], also those of a method without seeds."""
    return {
        name: np.asarray(stack).reshape(-1, *np.shape(stack)[-2:])
        for name, stack in predicted.items()
    }


def required_recordings(targets: np.ndarray) -> np.ndarray:
    """Returns cases and controls of the classes with both, for `resamples`."""
    both = has_both(targets)
    cases = np.equal(targets, 1)[:, both]
    return np.concatenate([cases, find_controls(targets)[:, both]], axis=1)


def _resampled_auroc(targets: np.ndarray, stack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns AUROC [draw, class], mean over the seeds of `stack` [seed, recording, class].

    `weights` [recording, draw] is the number of times that a recording counts.
    """
    values = np.full((weights.shape[1], targets.shape[1]), np.nan)
    for k in np.flatnonzero(has_both(targets)):
        each_seed = [_weighted_auroc(targets[:, k], scores[:, k], weights) for scores in stack]
        values[:, k] = np.mean(each_seed, axis=0)
    return values


def _weighted_auroc(target: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns AUROC [draw] of one class: the weighted share of (case, control) pairs in order."""
    case = target == 1
    control = find_controls(target)
    cases = weights[case]
    controls = weights[control]
    order = np.argsort(scores[control])
    ranked = scores[control][order]
    cumulative = np.zeros((len(controls) + 1, weights.shape[1]), weights.dtype)
    np.cumsum(controls[order], axis=0, out=cumulative[1:])  # total weight of the k lowest controls
    less = cumulative[np.searchsorted(ranked, scores[case], "left")]
    at_most = cumulative[np.searchsorted(ranked, scores[case], "right")]
    wins = np.einsum("rd,rd->d", cases, less + at_most)
    with np.errstate(invalid="ignore"):  # 0 / 0: the class is not in the resample
        return wins / (2 * cases.sum(axis=0) * controls.sum(axis=0))


def _check(targets: np.ndarray, scores: np.ndarray) -> None:
    if np.shape(targets) != np.shape(scores) or np.ndim(targets) != 2:
        shapes = f"targets {np.shape(targets)} and scores {np.shape(scores)}"
        raise InputError(f"{shapes}: give both as [recording, class]")
    if np.isnan(scores).any():
        raise InputError(
            f"scores: {np.isnan(scores).sum()} of {np.size(scores)} are NaN; give finite scores"
        )
