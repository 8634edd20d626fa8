"""Confidence intervals over patients and draws of labelled recordings.

A method that was trained with K draws of labels has K values on the same test patients; with other
draws and patients their mean would be another. Its variance is estimated in two parts:

  patients    the bootstrap over patients of the mean over draws
  draws       s^2 / K, with s the standard deviation of the K values

Resampling the K values with replacement would understate the second part in two ways. It gives
their mean the variance (K - 1) / K * s^2 / K, and nearly normal tails although s is known from K
values only: with five draws, a nominal 95 % interval for a mean over draws alone covers 84 %. Each
resample of patients therefore gets an error t * s / sqrt(K), with t of Student's distribution with
K - 1 degrees of freedom. That makes the interval exact where draws alone matter, and the percentile
interval over patients where patients alone do.

Draws do not differ alike for all patients. This interplay is in both parts, since s is measured on
the same patients. The bootstrap of single draws shows its size, and the first part is narrowed by
it. (Taken from s^2 instead, which is known from K values only, intervals cover less than they say.)
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.stats

from ecgjax.evaluate.bootstrap import Bootstrap, Interval, percentile_interval
from ecgjax.evaluate.scores import MAIN_METRIC, measure
from ecgjax.outputs import Kind

Reduce = Callable[[np.ndarray], np.ndarray]
"""Function [..., class] -> [...]: the mean over classes, or one class."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelDraws:
    """The main metric of several methods, each trained with several draws of labels.

    Methods share resamples of patients. Draw k of one method has the labels of draw k of another,
    so that differences between methods with equally many draws are paired by draw, too.
    """

    values: dict[str, np.ndarray]
    """Value of each draw on the whole test set, [draw, class]; NaN for an absent class."""
    resampled: dict[str, np.ndarray]
    """Value of each draw on each resample of patients, [draw, resample, class]."""
    level: float
    """Confidence level of the intervals."""

    @classmethod
    def measure(
        cls, kind: Kind, truth: np.ndarray, scores: Mapping[str, np.ndarray], patients: np.ndarray
    ) -> "LabelDraws":
        """Measures predictions.

        Args:
          kind: kind of the targets.
          truth: targets, with NaN where there is no label, [recording, class].
          scores: predictions of each method, [draw, recording, class].
          patients: patient of each recording, [recording].

        Raises:
          InputError: the shapes differ, or a prediction is NaN.
        """
        names = {method: [f"{method} {k}" for k in range(len(scores[method]))] for method in scores}
        single = {
            name: one
            for method, each in names.items()
            for name, one in zip(each, scores[method], strict=True)
        }
        bootstrap = measure(kind, truth, single, patients)[MAIN_METRIC[kind]]
        return cls.stack(bootstrap, names)

    @classmethod
    def stack(cls, single: Bootstrap, names: Mapping[str, Sequence[str]]) -> "LabelDraws":
        """Joins the draws of each method.

        Args:
          single: a bootstrap in which every draw is a method of its own.
          names: the names of each method's draws in it.
        """
        return cls(
            {method: np.stack([single.values[name] for name in names[method]]) for method in names},
            {method: np.stack([single.draws[name] for name in names[method]]) for method in names},
            single.level,
        )

    def defined(self, method: str) -> np.ndarray:
        """Returns True for a class with a value in the test set, bool [class]."""
        return np.asarray(np.isfinite(self.values[method]).all(axis=0))

    def macro(
        self, method: str, *, minus: str | None = None, among: np.ndarray | None = None
    ) -> Interval:
        """Returns the mean over draws and classes, or its paired difference from method `minus`.

        Args:
          method: the method.
          minus: the method that is subtracted.
          among: the classes that count, bool [class]; None: all. A class that is absent from the
            test set never counts, and one that is too rare for resampling counts where it can.
        """
        counted = self.defined(method) & (True if among is None else among)

        def mean(values: np.ndarray) -> np.ndarray:
            known = ~np.isnan(values[..., counted])
            total = np.where(known, values[..., counted], 0.0).sum(axis=-1)
            number = known.sum(axis=-1)
            return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)

        return self._interval(method, minus, mean)

    def per_class(self, method: str, *, minus: str | None = None) -> list[Interval]:
        """Returns the mean over draws of each class, or its paired difference from `minus`."""
        picks = [operator.itemgetter((..., k)) for k in range(self.values[method].shape[1])]
        return [self._interval(method, minus, pick) for pick in picks]

    def _interval(self, method: str, minus: str | None, reduce: Reduce) -> Interval:
        return percentile_interval(*self._combined(method, minus, reduce), self.level)

    def _combined(self, method: str, minus: str | None, reduce: Reduce) -> tuple[float, np.ndarray]:
        """Returns the mean over draws, and its replicates [resample]."""
        values = reduce(self.values[method])
        resampled = reduce(self.resampled[method])
        if minus is not None:
            others = reduce(self.values[minus])
            if len(others) != len(values):  # other draws: each has an error of its own
                mean, own = self._combined(method, None, reduce)
                other_mean, other = self._combined(minus, None, reduce)
                return mean - other_mean, own - other
            values = values - others
            resampled = resampled - reduce(self.resampled[minus])
        return float(values.mean()), replicates(values, resampled)


def replicates(values: np.ndarray, resampled: np.ndarray, *, stream: int = 0) -> np.ndarray:
    """Returns replicates of the mean over draws for other patients and draws, [resample].

    Args:
      values: value of each draw, [draw].
      resampled: value of each draw on each resample of patients, [draw, resample], NaN where it has
        none.
      stream: number of the errors that stand for other draws of labels. Means over different draws
        that are compared with each other have streams of their own.
    """
    number, resamples = resampled.shape
    means = resampled.mean(axis=0)
    known = ~np.isnan(means)
    if number < 2 or not known.any():
        return means
    freedom = number - 1
    mean_variance = means[known].var()
    single_variance = resampled[:, known].var(axis=1).mean()
    interplay = max(0.0, single_variance - mean_variance) / freedom  # of the mean over draws
    share = max(0.0, 1 - interplay / mean_variance) if mean_variance > 0 else 0.0
    # Quantiles in random order: drawn at random, the tails of few resamples would differ by chance.
    errors = scipy.stats.t.ppf((np.arange(resamples) + 0.5) / resamples, freedom)
    errors = np.random.default_rng((number, stream)).permutation(errors)
    centre = values.mean()
    deviation = values.std(ddof=1) / np.sqrt(number)
    return centre + np.sqrt(share) * (means - centre) + errors * deviation
