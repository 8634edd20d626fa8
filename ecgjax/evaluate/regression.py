"""Metrics of predicted numbers and of chosen classes, with a bootstrap over patients."""

from collections.abc import Callable, Mapping

import numpy as np

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Bootstrap, resamples
from ecgjax.evaluate.metrics import as_stacks, required_recordings

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Function (targets [recording], predictions [recording], weights [recording, draw]) that returns a
metric of each draw, [draw]; NaN where it is not defined."""


def r2(target: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the coefficient of determination: the share of the variance that is explained."""
    total = _covariance(target, target, weights)
    error = weights.T @ (target - predicted) ** 2
    return _ratio(total - error, total)


def mae(target: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the mean absolute error, in the unit of the target."""
    return _ratio(weights.T @ np.abs(target - predicted), weights.sum(axis=0))


def pearson_r(target: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation coefficient."""
    variances = [_covariance(each, each, weights) for each in (target, predicted)]
    spread = np.sqrt(np.maximum(np.prod(variances, axis=0), 0))
    return _ratio(_covariance(target, predicted, weights), spread)


NUMBER_METRICS: dict[str, Measure] = {"R2": r2, "MAE": mae, "Pearson r": pearson_r}
"""Metrics of numbers by name."""


def number_bootstraps(
    targets: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Bootstrap]:
    """Computes R2, MAE and Pearson's r with percentile intervals from a bootstrap over patients.

    Args:
      targets: numbers, or NaN where there is no label, [recording, output].
      predicted: predictions of each method in the unit of the targets, [recording, output] or
        [seed, recording, output]. The value of a method with several seeds is the mean.
      patients: patient of each recording, [recording].
      draws: number of resamples.
      level: confidence level.
      seed: random seed of the resamples.

    Returns:
      A bootstrap for each metric of `NUMBER_METRICS`, with the outputs as classes.

    Raises:
      InputError: the shapes differ, or a prediction is NaN.
    """
    stacks = as_stacks(predicted)
    for stack in stacks.values():
        if stack.shape[1:] != targets.shape or np.isnan(stack).any():
            problem = f"targets {targets.shape} and predictions {stack.shape}"
            raise InputError(f"{problem}: give finite predictions of the same shape")
    no_requirement = np.zeros((len(targets), 0), bool)
    blocks = [np.ones((len(targets), 1), np.float32)]
    blocks += resamples(no_requirement, patients, draws=draws, seed=seed)
    results = {}
    for name, measure in NUMBER_METRICS.items():
        rows = {
            method: np.concatenate([each_output(measure, targets, stack, one) for one in blocks])
            for method, stack in stacks.items()
        }
        results[name] = Bootstrap.over(
            patients,
            {method: each[0] for method, each in rows.items()},
            {method: each[1:] for method, each in rows.items()},
            level,
        )
    return results


def accuracy_bootstrap(
    targets: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Computes the recall of each class when the most probable one is chosen.

    The macro mean of the result is the balanced accuracy. Arguments are those of
    `metrics.patient_bootstrap`, with one-hot targets; a class without cases has NaN, and so has the
    only class with cases, which any model that always chooses it recalls.
    """
    known = np.all(~np.isnan(targets), axis=1)
    cases = np.equal(targets, 1) & known[:, None]
    if cases.any(axis=0).sum() < 2:
        cases = np.zeros_like(cases)
    hits = {
        method: np.mean([_chosen(scores) & cases for scores in stack], axis=0)
        for method, stack in as_stacks(predicted).items()
    }

    def recall(weights: np.ndarray, hit: np.ndarray) -> np.ndarray:
        return _ratio(weights.T @ hit, weights.T @ cases)

    whole = np.ones((len(targets), 1), np.float32)
    required = required_recordings(targets)
    blocks = list(resamples(required, patients, draws=draws, seed=seed))
    return Bootstrap.over(
        patients,
        {method: recall(whole, hit)[0] for method, hit in hits.items()},
        {
            method: np.concatenate([recall(one, hit) for one in blocks])
            for method, hit in hits.items()
        },
        level,
    )


def _chosen(scores: np.ndarray) -> np.ndarray:
    """Returns True for the class of each recording with the highest score."""
    return scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])


def each_output(
    measure: Measure, targets: np.ndarray, stack: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Returns a metric [draw, output], mean over the seeds of `stack` [seed, recording, output]."""
    values = np.full((weights.shape[1], targets.shape[1]), np.nan)
    for k, target in enumerate(targets.T.astype(np.float64)):
        known = ~np.isnan(target)
        each_seed = [
            measure(target[known], predicted[known, k].astype(np.float64), weights[known])
            for predicted in stack
        ]
        values[:, k] = np.mean(each_seed, axis=0)
    return values


def _covariance(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the weighted sum of products of deviations from the weighted means, [draw]."""
    if not len(a):
        return np.zeros(weights.shape[1])
    # Less the means of all recordings: differences of large numbers would lose digits.
    a = a - a.mean()
    b = b - b.mean()
    sums = (weights.T @ a) * (weights.T @ b)
    return weights.T @ (a * b) - _ratio(sums, weights.sum(axis=0))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
