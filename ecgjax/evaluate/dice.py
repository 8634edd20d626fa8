"""Dice coefficients of P, QRS and T, with a bootstrap over patients paired between methods."""

from collections.abc import Mapping

import numpy as np

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Bootstrap
from ecgjax.signals import UNMARKED, WAVES


def dice_bootstrap(
    truth: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Computes Dice coefficients of P, QRS and T with 95 % intervals, resampling patients.

    A coefficient is computed over all samples of all recordings together, because a recording in
    atrial fibrillation has no P wave and therefore no coefficient of its own. A P wave predicted in
    such a recording counts as an error. For a method with several seeds the value is the mean
    coefficient over seeds. The interval describes the variation between patients, not between
    seeds.

    Args:
      truth: true wave labels, [recording, time]; samples with `UNMARKED` are left out.
      predicted: predicted wave labels of each method, [recording, time] or [seed, recording, time].
      patients: patient of each recording, [recording].
      draws: number of resamples.
      seed: random seed of the resamples.

    Returns:
      A bootstrap whose classes are `WAVES` without "none". A wave that does not occur in `truth`
      has no coefficient for any method and is left out of the mean. Resamples without a wave are
      left out of its interval.

    Raises:
      InputError: the shapes differ, or `truth` has no wave.
    """
    stacks = {
        name: np.asarray(stack).reshape(-1, *np.shape(stack)[-2:])
        for name, stack in predicted.items()
    }
    same_shapes = all(stack.shape[1:] == truth.shape for stack in stacks.values())
    if len(patients) != len(truth) or not same_shapes:
        shapes = " and ".join(str(np.shape(stack)) for stack in predicted.values())
        raise InputError(
            f"wave labels {truth.shape} and {shapes} of {len(patients)} recordings: give the same "
            f"shapes"
        )
    if not np.isin(truth, np.arange(1, len(WAVES))).any():
        raise InputError(
            f"wave labels: {len(truth)} recordings have no P, QRS or T; choose another test set"
        )
    weights = patient_weights(patients, draws=draws, seed=seed)
    coefficients = {
        name: np.mean([_dice(truth, labels, weights) for labels in stack], axis=0)
        for name, stack in stacks.items()
    }
    return Bootstrap.over(
        patients,
        {name: rows[0] for name, rows in coefficients.items()},
        {name: rows[1:] for name, rows in coefficients.items()},
        0.95,
    )


def patient_weights(patients: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Returns the number of times that each recording counts, float64 [1 + draw, recording].

    The first row is the test set as it is, the others are resamples of patients.
    """
    _, patient = np.unique(patients, return_inverse=True)
    number = patient.max() + 1
    rng = np.random.default_rng(seed)
    times = np.stack(
        [np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(draws)]
    )
    return np.concatenate([np.ones((1, len(patient))), times[:, patient]])


def _dice(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns coefficients [draw, wave]; `weights` [draw, recording] counts the recordings."""
    known = truth != UNMARKED
    waves = np.arange(1, len(WAVES))[:, None, None]
    is_true = known & (truth == waves)  # [wave, recording, time]
    is_predicted = known & (predicted == waves)
    both = 2 * (is_true & is_predicted).sum(-1)  # [wave, recording]
    true_size = weights @ is_true.sum(-1).T  # [draw, wave]
    predicted_size = weights @ is_predicted.sum(-1).T
    return np.divide(
        weights @ both.T,
        true_size + predicted_size,
        out=np.full(true_size.shape, np.nan),
        where=true_size > 0,
    )
