"""Errors of the onsets and offsets of P, QRS and T in a segmentation, and how many are found.

A true and a predicted boundary of one kind are a pair if they are at most a tolerance apart. Each
belongs to one pair at most; the pairs are as many as possible and, among these choices, as near as
possible. There are two sets of tolerances:

- `TOLERANCE_MS`, those of openecg (github.com/vitaldb/openecg, openecg/stage2/evaluate.py), which
  names them after the delineator of Martinez et al. 2004 (doi:10.1109/TBME.2003.821031). Its table
  with NeuroKit2 uses them, too: the macro F1 is the mean of the six F1.
- `AAMI_MS`, the window of ANSI/AAMI EC57 that studies on LUDB use (Moskalenko et al. 2020,
  arXiv:2001.04689). Errors in ms are those of the pairs within it.

F1, sensitivity and positive predictive value count the boundaries of all recordings together, as
openecg does: a P wave that is found in atrial fibrillation is an error. A boundary at the first or
last sample of a recording is none, because the recording cuts the wave there. Where the truth is
not marked nothing can be right or wrong: predictions count up to `MARGIN_MS` from a marked sample.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import scipy.optimize

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Bootstrap
from ecgjax.evaluate.dice import patient_weights
from ecgjax.signals import UNMARKED, WAVES

EDGES = ("onset", "offset")
BOUNDARIES = tuple(f"{wave} {edge}" for wave in WAVES[1:] for edge in EDGES)
"""The boundaries, in the order in which they stand in a beat. Both lie within their wave."""
TOLERANCE_MS = {
    "P onset": 50.0,
    "P offset": 50.0,
    "QRS onset": 40.0,
    "QRS offset": 40.0,
    "T onset": 50.0,
    "T offset": 100.0,
}
"""Tolerances of openecg, in milliseconds."""
AAMI_MS = 150.0
"""Tolerance of ANSI/AAMI EC57 for any boundary, in milliseconds."""
MARGIN_MS = 100.0
"""Distance from a marked sample up to which a prediction counts, as in openecg, in milliseconds."""


@dataclasses.dataclass(frozen=True, eq=False)
class Counts:
    """Boundaries of all recordings, and the pairs of one tolerance."""

    marked: np.ndarray
    """Number of true boundaries, int64 [recording, boundary]."""
    predicted: np.ndarray
    """Number of predicted boundaries, int64 [recording, boundary]."""
    matched: np.ndarray
    """Number of pairs, int64 [recording, boundary]."""
    errors_ms: tuple[np.ndarray, ...]
    """Predicted minus true time of all pairs of each boundary, in milliseconds."""

    @property
    def sensitivity(self) -> np.ndarray:
        """Share of the true boundaries that were found, float64 [boundary]; NaN without any."""
        return _ratio(self.matched.sum(axis=0), self.marked.sum(axis=0))

    @property
    def ppv(self) -> np.ndarray:
        """Positive predictive value: share of the predicted boundaries that are true."""
        return _ratio(self.matched.sum(axis=0), self.predicted.sum(axis=0))


def count_boundaries(
    truth: np.ndarray, predicted: np.ndarray, *, rate_hz: float, tolerances_ms: Mapping[str, float]
) -> Counts:
    """Finds the boundaries of each recording and their pairs.

    Args:
      truth: true wave labels, [recording, time]; `UNMARKED` where nothing is known.
      predicted: predicted wave labels, [recording, time].
      rate_hz: sampling rate of the labels, in Hz.
      tolerances_ms: largest distance of a pair, by boundary, in milliseconds.

    Raises:
      InputError: the shapes differ.
    """
    if truth.shape != predicted.shape:
        raise InputError(
            f"wave labels {truth.shape} and {predicted.shape}: give the same recordings and rate"
        )
    size = (len(truth), len(BOUNDARIES))
    marked, found, matched = (np.zeros(size, int) for _ in range(3))
    errors: list[list[np.ndarray]] = [[] for _ in BOUNDARIES]
    for row, (known, guess) in enumerate(zip(truth, predicted, strict=True)):
        true_samples = find_boundaries(known)
        guessed_samples = find_boundaries(guess)
        is_near = _near_marks(known, MARGIN_MS * rate_hz / 1000)
        for column, name in enumerate(BOUNDARIES):
            true = true_samples[name]
            guessed = guessed_samples[name]
            guessed = guessed[is_near[guessed]]
            # Rounded, since 0.04 s at 25 Hz must not be less than one sample.
            limit = round(tolerances_ms[name] * rate_hz / 1000, 6)
            distances = match(true, guessed, limit)
            marked[row, column] = len(true)
            found[row, column] = len(guessed)
            matched[row, column] = len(distances)
            errors[column].append(distances * 1000 / rate_hz)
    joined = tuple(np.concatenate([np.zeros(0), *each]) for each in errors)
    return Counts(marked, found, matched, joined)


def find_boundaries(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the first and last samples of the waves in labels [time], by name of boundary."""
    boundaries = {}
    for number, wave in enumerate(WAVES[1:], 1):
        steps = np.diff(labels == number, prepend=False, append=False)
        edges = np.flatnonzero(steps)
        onsets = edges[::2]
        offsets = edges[1::2] - 1
        boundaries[f"{wave} onset"] = onsets[onsets > 0]
        boundaries[f"{wave} offset"] = offsets[offsets < len(labels) - 1]
    return boundaries


def match(true: np.ndarray, predicted: np.ndarray, limit: float) -> np.ndarray:
    """Returns predicted minus true samples of the best pairs that are at most `limit` apart.

    There are as many pairs as possible, and the sum of their distances is the smallest of these.
    """
    difference = predicted[None] - true[:, None]
    distance = np.abs(difference).astype(float)
    # A pair that is too far apart costs more than all others together.
    forbidden = (limit + 1) * (distance.size + 1)
    cost = np.where(distance <= limit, distance, forbidden)
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    pairs = difference[rows, columns]
    return pairs[np.abs(pairs) <= limit].astype(float)


def f1_bootstrap(
    counts: Counts, patients: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> Bootstrap:
    """Computes F1 of each boundary with 95 % intervals, resampling patients.

    Args:
      counts: boundaries and pairs.
      patients: patient of each recording, [recording].
      draws: number of resamples.
      seed: random seed of the resamples.

    Returns:
      A bootstrap of the method "model" whose classes are `BOUNDARIES`. A boundary that does not
      occur in the truth has no F1 and is left out of the mean.
    """
    weights = patient_weights(patients, draws=draws, seed=seed)
    sizes = counts.marked + counts.predicted
    f1 = _ratio(weights @ (2 * counts.matched), weights @ sizes)
    f1[weights @ counts.marked == 0] = np.nan
    return Bootstrap.over(patients, {"model": f1[0]}, {"model": f1[1:]}, 0.95)


def _near_marks(labels: np.ndarray, margin: float) -> np.ndarray:
    """Returns True for the samples that are at most `margin` from a marked one, bool [time]."""
    reach = int(margin)
    is_marked = labels != UNMARKED
    return np.convolve(is_marked, np.ones(2 * reach + 1))[reach : reach + len(labels)] > 0


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
