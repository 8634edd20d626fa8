"""Net benefit of deciding by a predicted risk (Vickers & Elkin 2006, Med Decis Making 26:565-574).

A threshold of 10 % says that one missed case is as bad as nine needless treatments or work-ups.
At threshold t the net benefit is TP / n - FP / n * t / (1 - t).
"""

import dataclasses

import numpy as np

THRESHOLDS = (0.05, 0.10, 0.20)
"""Thresholds at which net benefit is reported by default."""


@dataclasses.dataclass(frozen=True)
class NetBenefit:
    """Net benefit of treating those with at least a threshold's risk, as a figure of a test."""

    thresholds: tuple[float, ...]
    """Risks above 0 and below 1."""

    def __call__(self, target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Returns net benefit, float64 [threshold, resample].

        Args:
          target: 0 or 1, [recording].
          risk: predicted risk, [recording].
          weights: number of times that a recording counts, [recording, resample].
        """
        thresholds = np.asarray(self.thresholds)[:, None]
        treated = (risk >= thresholds).astype(np.float64)
        case = target == 1
        total = weights.sum(axis=0, dtype=np.float64)
        harm = thresholds / (1 - thresholds)
        with np.errstate(invalid="ignore"):  # 0 / 0: a resample without recordings
            return ((treated * case) @ weights - harm * ((treated * ~case) @ weights)) / total


def treat_all(target: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """Returns the net benefit of treating everybody, [threshold]; that of nobody is 0."""
    weights = np.ones((len(target), 1))
    return NetBenefit(thresholds)(target, np.ones(len(target)), weights)[:, 0]
