"""Confidence intervals from a bootstrap over patients, paired between methods."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Self

import numpy as np

_TRIES = 1000
"""Blocks of resamples that are drawn at most until one block is complete."""
_EMPTY_TRIES = 100
"""Blocks after which it is certain that complete resamples are too rare, if none was found."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float

    def within(self, least: float, most: float) -> "Interval":
        """Returns the interval cut to the range of its metric: tails over few draws are long."""
        return Interval(self.value, max(self.low, least), min(self.high, most))

    def text(self, *, signed: bool = False) -> str:
        """Returns "0.850 (0.800-0.900)", or signed "+0.050 (-0.010 to +0.110)"."""
        if math.isnan(self.value):
            return "n/a"
        sign = "+" if signed else ""
        value = f"{self.value:{sign}.3f}"
        if math.isnan(self.low):
            return f"{value} (no interval: too few patients)"
        between = " to " if signed or self.low < 0 else "-"  # a hyphen beside a minus sign misleads
        return f"{value} ({self.low:{sign}.3f}{between}{self.high:{sign}.3f})"


def percentile_interval(value: float, replicates: np.ndarray, level: float) -> Interval:
    """Returns a value with the percentile interval of its replicates.

    Args:
      value: the value.
      replicates: values of resamples, [resample]; those that are NaN are left out.
      level: confidence level.
    """
    replicates = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


@dataclasses.dataclass(frozen=True, eq=False)
class Bootstrap:
    """A metric of several methods on one test set and on its resamples.

    The methods share the resamples of patients, so that differences between methods are paired.
    A class without a value in the test set, such as one without cases, has NaN and is left out of
    the macro mean.
    """

    values: dict[str, np.ndarray]
    """Value of each method on the whole test set, [class]."""
    draws: dict[str, np.ndarray]
    """Value of each method on each resample, [draw, class]; a row is one resample of patients."""
    level: float
    """Confidence level of the intervals."""

    @classmethod
    def over(
        cls,
        patients: np.ndarray,
        values: dict[str, np.ndarray],
        draws: dict[str, np.ndarray],
        level: float,
    ) -> Self:
        """Returns a bootstrap over patients, without intervals if there is only one.

        Every resample of one patient is the test set itself. An interval of width 0 would say that
        the value is exact, although nothing is known about other patients.

        Args:
          patients: patient of each recording, [recording].
          values: as `Bootstrap.values`.
          draws: as `Bootstrap.draws`.
          level: confidence level of the intervals.
        """
        if len(np.unique(patients)) < 2:
            draws = {name: np.full(np.shape(each), np.nan) for name, each in draws.items()}
        return cls(values, draws, level)

    def macro(self, method: str, *, minus: str | None = None) -> Interval:
        """Returns the mean over classes of a method, or its paired difference from `minus`."""
        value, draws = self._difference(method, minus)
        defined = ~np.isnan(value)
        if not defined.any():
            return Interval(float("nan"), float("nan"), float("nan"))
        drawn = draws[:, defined]
        # A class that is too rare for resampling is absent from some resamples.
        if np.isnan(drawn).any():
            drawn = drawn[~np.isnan(drawn).all(axis=1)]
            return self._interval(value[defined].mean(), np.nanmean(drawn, axis=1))
        return self._interval(value[defined].mean(), drawn.mean(axis=1))

    def per_class(self, method: str, *, minus: str | None = None) -> list[Interval]:
        """Returns the value of each class, or its paired difference from method `minus`."""
        value, draws = self._difference(method, minus)
        return [self._interval(value[k], draws[:, k]) for k in range(len(value))]

    def _difference(self, method: str, minus: str | None) -> tuple[np.ndarray, np.ndarray]:
        if minus is None:
            return self.values[method], self.draws[method]
        return self.values[method] - self.values[minus], self.draws[method] - self.draws[minus]

    def _interval(self, value: float, draws: np.ndarray) -> Interval:
        return percentile_interval(value, draws, self.level)


def resamples(
    required: np.ndarray, patients: np.ndarray, *, draws: int, seed: int
) -> Iterator[np.ndarray]:
    """Draws patients with replacement, each with all recordings.

    A resample without any of the recordings that some column requires is drawn again. If there is
    hardly ever a resample with all of them, every resample counts.

    Args:
      required: recordings of which each resample has at least one, bool [recording, column].
      patients: patient of each recording, [recording].
      draws: number of resamples.
      seed: random seed.

    Yields:
      Blocks of resamples: the number of times that each recording occurs in each, float32
      [recording, draw].
    """
    _, patient = np.unique(patients, return_inverse=True)
    columns = required.astype(np.float32)
    rng = np.random.default_rng(seed)
    block = int(np.clip(2**20 // len(patient), 1, 128))  # a few MB at a time
    for start in range(0, draws, block):
        wanted = min(block, draws - start)
        weights = _draw(columns, patient, wanted, rng)
        if weights is None:
            columns = columns[:, :0]
            weights = _draw(columns, patient, wanted, rng)
        assert weights is not None, "every resample counts without a requirement"
        yield weights


def _draw(
    required: np.ndarray, patient: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Returns a block of resamples, or None if those that are complete are too rare."""
    number = patient.max() + 1
    accepted = np.empty((len(patient), 0), np.float32)
    for tries in range(_TRIES):
        drawn = rng.integers(number, size=(draws, number)) + number * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number)
        weights = times.T[patient].astype(np.float32)
        complete = (required.T @ weights > 0).all(axis=0)
        accepted = np.concatenate([accepted, weights[:, complete]], axis=1)
        if accepted.shape[1] >= draws:
            return accepted[:, :draws]
        if tries == _EMPTY_TRIES and not accepted.shape[1]:
            break
    return None
