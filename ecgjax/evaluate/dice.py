"""Dice coefficients of marked waves, and their uncertainty: a bootstrap over patients, paired between methods."""

from collections.abc import Mapping

import numpy as np

from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import Bootstrap
from ecgjax.signals import UNMARKED, WAVES


def dice_bootstrap(
    truth: np.ndarray,
    found: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Dice coefficients of P, QRS and T over all samples of all recordings, with 95 % intervals.

    Over all at once, since a recording in atrial fibrillation has no P wave and so no coefficient of its own; a P wave
    that is found there counts as wrong. Where a method has several seeds, the figure is the mean of their coefficients,
    and its interval is about other patients in the test set, not about other seeds.

    Args:
      truth: the class of each sample, [recording, time]; samples with `UNMARKED` are left out.
      found: of each method the same as predicted, [recording, time] or [seed, recording, time].
      patients: of each recording.
      draws: number of resamples.
      seed: of the resamples.

    Returns:
      Classes are `WAVES` without "none". A wave that `truth` lacks has no coefficient, of whatever method, and is left
      out of the mean; so are, of its interval, resamples that lack it.

    Raises:
      InputError: the shapes differ, or no wave is marked.
    """
    stacks = {
        name: np.asarray(stack).reshape(-1, *np.shape(stack)[-2:]) for name, stack in found.items()
    }
    if len(patients) != len(truth) or any(
        stack.shape[1:] != truth.shape for stack in stacks.values()
    ):
        shapes = " and ".join(str(np.shape(stack)) for stack in found.values())
        raise InputError(
            f"marks {truth.shape} and {shapes} of {len(patients)} recordings: give the same shapes"
        )
    if not np.isin(truth, np.arange(1, len(WAVES))).any():
        raise InputError(
            f"marks of {len(truth)} recordings: none is of a wave; choose another test set"
        )
    _, patient = np.unique(patients, return_inverse=True)
    number, rng = patient.max() + 1, np.random.default_rng(seed)
    times = np.stack(
        [np.bincount(rng.integers(number, size=number), minlength=number) for _ in range(draws)]
    )
    weights = np.concatenate(
        [np.ones((1, len(patient))), times[:, patient]]
    )  # as it is, then the resamples
    every = {
        name: np.mean([_dice(truth, one, weights) for one in stack], axis=0)
        for name, stack in stacks.items()
    }
    values = {name: coefficients[0] for name, coefficients in every.items()}
    return Bootstrap(values, {name: coefficients[1:] for name, coefficients in every.items()}, 0.95)


def _dice(truth: np.ndarray, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[draw, wave], with recordings counted weights [draw, recording] times."""
    known, kinds = truth != UNMARKED, np.arange(1, len(WAVES))
    is_true, is_found = (known & (marks == kinds[:, None, None]) for marks in (truth, found))
    both = 2 * (is_true & is_found).sum(-1)  # [wave, recording]
    marked, claimed = (weights @ marks.sum(-1).T for marks in (is_true, is_found))  # [draw, wave]
    return np.divide(
        weights @ both.T, marked + claimed, out=np.full(marked.shape, np.nan), where=marked > 0
    )
