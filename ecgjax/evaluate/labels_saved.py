"""Labels saved: how many labels one method needs for what another reaches with n labels.

Curves are AUROC against the logarithm of the number of labels, straight between the amounts that
were run. Nothing is extrapolated: a method that never reaches a value within the amounts that were
run needs more than the largest, and one that starts above it needs at most the smallest.
"""

import dataclasses

import numpy as np

from ecgjax.evaluate.resampling import LEVEL


@dataclasses.dataclass(frozen=True)
class LabelsSaved:
    """The ratio of labels that two methods need, with its interval.

    0 stands for less than `smallest`, infinity for more than `largest`.
    """

    value: float
    low: float
    high: float
    smallest: float
    """The smallest ratio that the amounts of labels can show."""
    largest: float
    """The largest one."""

    def __str__(self) -> str:
        if self.low == self.high and self.low in (0, np.inf):
            return f"{self._text(self.value)} (95 % interval the same)"
        ends = " to ".join(self._text(each) for each in (self.low, self.high))
        return f"{self._text(self.value)} ({ends})"

    def _text(self, ratio: float) -> str:
        if ratio == np.inf:
            return f"more than {_round(self.largest)}"
        return f"at most {_round(self.smallest)}" if ratio == 0 else _round(ratio)


def _round(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def labels_needed(amounts: np.ndarray, curves: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the smallest number of labels with which a curve reaches a value, [resample].

    Args:
      amounts: numbers of labels, ascending, [amount].
      curves: AUROC at each amount, [amount, resample].
      wanted: the value to reach, [resample].

    Returns:
      Infinity for a curve that never reaches it, 0 for one that does with the smallest amount.
    """
    needed = np.full(len(wanted), np.inf)
    for i in range(len(amounts) - 1, 0, -1):
        crosses = (curves[i - 1] < wanted) & (curves[i] >= wanted)
        rise = np.where(crosses, curves[i] - curves[i - 1], 1)
        position = (wanted - curves[i - 1]) / rise
        logarithm = np.log(amounts[i - 1]) + position * np.log(amounts[i] / amounts[i - 1])
        needed = np.where(crosses, np.exp(logarithm), needed)
    return np.where(curves[0] >= wanted, 0.0, needed)


def labels_saved(
    amounts: np.ndarray, curves: np.ndarray, labels: int, reached: np.ndarray
) -> LabelsSaved:
    """Returns the ratio of labels that a reference needs to those that a method has.

    Args:
      amounts: numbers of labels of the reference, ascending, [amount].
      curves: AUROC of the reference, [amount, 1 + resample]; column 0 is the test set as it is.
      labels: number of labels of the method.
      reached: AUROC that the method reaches with them, on the same resamples, [1 + resample].
    """
    ratio = labels_needed(amounts, curves, reached) / labels
    defined = ~np.isnan(curves).any(axis=0) & ~np.isnan(reached)
    drawn = np.sort(ratio[1:][defined[1:]])
    tail = (1 - LEVEL) / 2
    # Order statistics, since an interpolation between finite and infinite has no meaning.
    low = np.quantile(drawn, tail, method="lower")
    high = np.quantile(drawn, 1 - tail, method="higher")
    bounds = amounts[[0, -1]] / labels
    return LabelsSaved(float(ratio[0]), float(low), float(high), float(bounds[0]), float(bounds[1]))
