"""Calibration of predicted risks: slope, intercept, Brier score, and observed against predicted.

Each figure takes one class: target 0 or 1 [recording], risk [recording] and weights
[recording, resample]. Definitions: Van Calster et al. 2019, BMC Medicine 17:230.
"""

import numpy as np
from scipy.special import expit, logit

BINS = 10
"""Intervals of equal width that predicted risks are divided into."""
LEAST_IN_BIN = 10
"""Number of recordings below which a bin has no observed share."""
_SMALLEST = 1e-7
"""Risks are cut to this distance from 0 and 1 for their log-odds: float32 has none nearer to 1."""
_STEPS = 50
"""Newton steps at most; a fit that has not converged has no value."""
_LONGEST_STEP = 2.0
_PRECISION = 1e-7
_LARGEST = 100.0
"""Slope or intercept from which on a fit has no finite solution: the risks separate the cases from
the controls."""


def log_odds(risk: np.ndarray) -> np.ndarray:
    """Returns the log-odds of risks, finite for 0 and 1, too."""
    return logit(np.clip(np.asarray(risk, np.float64), _SMALLEST, 1 - _SMALLEST))


def shift(risk: np.ndarray, *, share: float, prevalence: float) -> np.ndarray:
    """Moves risks that were learnt with one share of cases to another prevalence.

    All odds are multiplied by the ratio of the odds of both shares (King & Zeng 2001, Political
    Analysis 9:137-163, prior correction). The order of the recordings stays.

    Args:
      risk: probabilities of any shape.
      share: share of cases among the recordings that the model learnt from.
      prevalence: share of cases where the risks are to hold.
    """
    return expit(log_odds(risk) + logit(prevalence) - logit(share))


def slope(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the slope of a logistic regression of the target on the log-odds, [resample].

    1 is ideal. Below 1, the risks are too extreme: high ones too high, low ones too low.
    """
    odds = log_odds(risk)
    scale = odds.std() or 1.0
    standardised = (odds - odds.mean()) / scale  # so that one length of step suits both parameters
    design = np.stack([np.ones(len(odds)), standardised])
    return _fit(target, design, np.zeros(len(odds)), weights)[1] / scale


def intercept(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns calibration in the large: the intercept with the slope fixed at 1, [resample].

    0 is ideal. Above 0, the risks are too low on average, below 0 too high; in log-odds.
    """
    return _fit(target, np.ones((1, len(target))), log_odds(risk), weights)[0]


def _fit(
    target: np.ndarray, design: np.ndarray, offset: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Fits logistic regressions by Newton's method, [parameter, resample].

    Args:
      target: 0 or 1, [recording].
      design: one or two variables, [parameter, recording].
      offset: log-odds that are added, [recording].
      weights: [recording, resample].
    """
    whole = np.ones((len(target), 1), np.float32)
    start = np.zeros((len(design), 1))
    whole_fit = _newton(target, design, offset, whole, start)
    # The resamples begin with the solution of the whole test, which saves half of the steps.
    return _newton(target, design, offset, weights, np.nan_to_num(whole_fit))


def _newton(
    target: np.ndarray,
    design: np.ndarray,
    offset: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    fitted = np.repeat(start, weights.shape[1] // start.shape[1], axis=1)
    wanted = design @ ((target == 1)[:, None] * weights)
    step = np.full(fitted.shape, np.inf)
    for _ in range(_STEPS):
        expected = expit(offset[:, None] + design.T @ fitted)
        missing = wanted - design @ (expected * weights)
        step = _solve(design, expected * (1 - expected) * weights, missing)
        fitted = fitted + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if not (np.abs(step) > _PRECISION).any():
            break
    converged = (np.abs(step) <= _PRECISION).all(axis=0) & (np.abs(fitted) < _LARGEST).all(axis=0)
    return np.where(converged, fitted, np.nan)


def _solve(design: np.ndarray, information: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Returns Newton's step of one or two parameters, NaN where the information is singular."""
    if len(design) == 1:
        return _divide(missing, (design**2) @ information)
    s00, s01, s11 = np.stack([design[0] ** 2, design[0] * design[1], design[1] ** 2]) @ information
    first = s11 * missing[0] - s01 * missing[1]
    second = s00 * missing[1] - s01 * missing[0]
    return _divide(np.stack([first, second]), s00 * s11 - s01**2)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Returns the quotient, NaN where the denominator vanishes."""
    missing = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=missing, where=np.abs(denominator) > 1e-12)


def brier(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the mean squared difference between risk and outcome, [resample]; 0 is ideal."""
    error = (np.asarray(risk, np.float64) - (target == 1)) ** 2
    return _divide(error @ weights, weights.sum(axis=0, dtype=np.float64))


def observed_shares(target: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the share of cases among the recordings of each bin of risk, [bin, resample].

    It is NaN in a bin without recordings.
    """
    member = _membership(risk).astype(np.float64)
    return _divide((member * (target == 1)) @ weights, member @ weights)


def mean_risks(risk: np.ndarray) -> np.ndarray:
    """Returns the mean predicted risk of the recordings of each bin, [bin]; NaN without any."""
    member = _membership(risk).astype(np.float64)
    return _divide(member @ np.asarray(risk, np.float64), member.sum(axis=1))


def bin_counts(risk: np.ndarray) -> np.ndarray:
    """Returns the number of recordings in each bin of risk, [bin]."""
    return _membership(risk).sum(axis=1)


def _membership(risk: np.ndarray) -> np.ndarray:
    """Returns the recordings of each bin, bool [bin, recording]; an edge belongs to the left bin.

    scikit-learn's `calibration_curve` has the same edges.
    """
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    return np.searchsorted(inner, risk) == np.arange(BINS)[:, None]
