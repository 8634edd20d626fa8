"""Resamples of one test set that all its figures share, for intervals of any figure.

Whatever is compared shares its resamples of patients, so that differences and ratios are paired.
Several draws of labels are a second source of variation, added as in
`ecgjax.evaluate.label_draws`, which says why. One draw alone says nothing of it: then the intervals
cover patients only.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ecgjax.evaluate.bootstrap import Interval, percentile_interval, resamples
from ecgjax.evaluate.label_draws import replicates
from ecgjax.evaluate.metrics import required_recordings

LEVEL = 0.95
"""Confidence level of the intervals."""
_BLOCK = 128
"""Resamples that a figure is computed on at once."""
_LEAST_SHARE = 0.5
"""Share of resamples with a value up to which there is no interval."""

Figure = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A figure of (target [recording], score [recording], weights [recording, resample]): float64
[..., resample]. Targets are 0 or 1, and weights say how often each recording counts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Resamples:
    """Resamples of one test set; column 0 is the test set as it is."""

    times: np.ndarray
    """Number of times that a recording counts, uint8 [recording, 1 + resample]."""

    @classmethod
    def make(
        cls, truth: np.ndarray, patients: np.ndarray, *, number: int = 1000, seed: int = 0
    ) -> "Resamples":
        """Draws resamples that contain cases and controls of each class, if possible.

        Args:
          truth: 0 or 1, or NaN where there is no label, [recording, class].
          patients: patient of each recording, [recording].
          number: number of resamples.
          seed: random seed.
        """
        blocks = resamples(required_recordings(truth), patients, draws=number, seed=seed)
        whole = np.ones((len(truth), 1), np.uint8)
        return cls(np.concatenate([whole, *(block.astype(np.uint8) for block in blocks)], 1))

    def select(self, recordings: np.ndarray) -> "Resamples":
        """Returns the resamples of some recordings, given by a mask or by positions."""
        return dataclasses.replace(self, times=self.times[recordings])

    def values(self, figure: Figure, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Computes a figure on the test set and its resamples, as the mean over draws of labels.

        Args:
          figure: the figure.
          target: 0 or 1, [recording].
          scores: scores of a method, [draw, recording].

        Returns:
          float64 [..., 1 + resample]; column 0 is the value on the test set as it is.
        """
        return self.mean_over_draws(self.each_draw(figure, target, scores))

    def each_draw(self, figure: Figure, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Computes a figure with each draw of labels, float64 [draw, ..., 1 + resample]."""
        starts = range(0, self.times.shape[1], _BLOCK)
        blocks = []
        for start in starts:
            times = self.times[:, start : start + _BLOCK].astype(np.float32)
            blocks.append(np.stack([figure(target, score, times) for score in scores]))
        return np.concatenate(blocks, axis=-1)

    def mean_over_draws(self, each_draw: np.ndarray, *, stream: int = 0) -> np.ndarray:
        """Returns the mean over draws, and its replicates for other patients and draws.

        Args:
          each_draw: as `each_draw` returns it.
          stream: see `ecgjax.evaluate.label_draws.replicates`.
        """
        shape = each_draw.shape[1:]
        columns = each_draw.reshape(len(each_draw), -1, shape[-1]).swapaxes(0, 1)
        rows = [
            np.append(each[:, 0].mean(), replicates(each[:, 0], each[:, 1:], stream=stream))
            for each in columns
        ]
        return np.reshape(rows, shape)


def make_interval(
    values: np.ndarray, *, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Interval:
    """Returns the first of the values, and the percentile interval of the others.

    Resamples without a value (NaN) are left out; if half of them have none, there is no interval.

    Args:
      values: [1 + resample].
      bounds: smallest and largest possible value: the tails over few draws of labels are long.
    """
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or len(drawn) <= _LEAST_SHARE * (len(values) - 1):
        return Interval(float(values[0]), float("nan"), float("nan"))
    return percentile_interval(values[0], drawn, LEVEL).within(*bounds)
