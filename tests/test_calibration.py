"""Calibration against scikit-learn's logistic regression, Brier score and calibration curve."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from ecgjax.evaluate import calibration

_RNG = np.random.default_rng(0)
TARGET = (_RNG.random(300) < 0.3).astype(np.float32)
RISK = expit(_RNG.normal(size=300) + 1.5 * TARGET - 2)
WEIGHTS = np.concatenate([np.ones((300, 1), int), _RNG.integers(0, 4, size=(300, 2))], axis=1)


@pytest.mark.parametrize("resample", range(3))
def test_slope_and_intercept_are_those_of_logistic_regressions(resample):
    weights = WEIGHTS.astype(np.float32)
    rows = np.repeat(np.arange(300), WEIGHTS[:, resample])
    odds = logit(RISK[rows])
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], TARGET[rows])
    slope = calibration.slope(TARGET, RISK, weights)[resample]
    assert slope == pytest.approx(model.coef_.item(), rel=1e-4)

    def surplus(constant):
        return (expit(odds + constant) - TARGET[rows]).sum()

    intercept = calibration.intercept(TARGET, RISK, weights)[resample]
    assert intercept == pytest.approx(scipy.optimize.brentq(surplus, -10, 10), abs=1e-6)


def test_perfect_risks_have_slope_1_and_intercept_0():
    risk = np.random.default_rng(0).uniform(0.01, 0.99, size=50_000)
    target = np.random.default_rng(1).random(len(risk)) < risk
    whole = np.ones((len(risk), 1), np.float32)
    assert calibration.slope(target, risk, whole).item() == pytest.approx(1, abs=0.03)
    assert calibration.intercept(target, risk, whole).item() == pytest.approx(0, abs=0.03)
    # Twice the log-odds are too extreme, and odds that are doubled too high.
    extreme = expit(2 * logit(risk))
    assert calibration.slope(target, extreme, whole).item() == pytest.approx(0.5, abs=0.015)
    high = expit(logit(risk) + np.log(2))
    assert calibration.intercept(target, high, whole).item() == pytest.approx(-np.log(2), abs=0.03)


@pytest.mark.parametrize("risk", [0.2 + 0.6 * TARGET, np.full(300, 0.3)], ids=["apart", "equal"])
def test_a_slope_without_a_finite_solution_is_no_number(risk):
    assert np.isnan(calibration.slope(TARGET, risk, WEIGHTS)).all()


def test_brier_score_agrees_with_scikit_learn():
    found = calibration.brier(TARGET, RISK, WEIGHTS.astype(np.float32))
    for resample in range(3):
        expected = brier_score_loss(TARGET, RISK, sample_weight=WEIGHTS[:, resample])
        assert found[resample] == pytest.approx(expected)


def test_reliability_agrees_with_scikit_learn():
    risk = np.append(RISK, [0.0, 0.3, 1.0])  # edges of bins, too
    target = np.append(TARGET, [0, 1, 1])
    observed, predicted = calibration_curve(target, risk, n_bins=calibration.BINS)
    shares = calibration.observed_shares(target, risk, np.ones((303, 1), np.float32))[:, 0]
    filled = calibration.bin_counts(risk) > 0
    assert calibration.bin_counts(risk).sum() == 303
    np.testing.assert_allclose(shares[filled], observed)
    np.testing.assert_allclose(calibration.mean_risks(risk)[filled], predicted)
    assert np.isnan(shares[~filled]).all()


def test_risks_of_balanced_draws_move_to_the_prevalence():
    """A model of two groups, fitted to half cases and half controls, by Bayes' theorem."""
    likelihoods = np.array([[0.9, 0.1], [0.2, 0.8]])  # [case or control, group]
    balanced = 0.5 * likelihoods[0] / (0.5 * likelihoods).sum(axis=0)
    rare = 0.02 * likelihoods[0] / (0.02 * likelihoods[0] + 0.98 * likelihoods[1])
    moved = calibration.shift(balanced, share=0.5, prevalence=0.02)
    np.testing.assert_allclose(moved, rare)
    assert np.isfinite(calibration.log_odds(np.array([0.0, 1.0]))).all()
