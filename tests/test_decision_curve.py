"""Net benefit against fixed values of dcurves, and by hand."""

import numpy as np
import pytest

from ecgjax.evaluate.decision_curve import NetBenefit, treat_all

RISK = np.array([0.05, 0.1, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.15, 0.9])
TARGET = np.array([0, 0, 1, 0, 1, 0, 1, 1, 0, 1])
THRESHOLDS = (0.05, 0.1, 0.2, 0.5, 0.75)


def test_net_benefit_is_that_of_dcurves():
    """Values of dcurves 1.1.7, which needs lifelines and is no dependency of the tests:

    dcurves.dca(data=pandas.DataFrame({"y": TARGET, "m": RISK}), outcome="y", modelnames=["m"],
                thresholds=THRESHOLDS)
    """
    found = NetBenefit(THRESHOLDS)(TARGET, RISK, np.ones((10, 1)))[:, 0]
    np.testing.assert_allclose(found, [0.473684, 0.455556, 0.35, 0.2, 0.2], atol=1e-6)
    everybody = treat_all(TARGET, THRESHOLDS)
    np.testing.assert_allclose(everybody, [0.473684, 0.444444, 0.375, 0.0, -1.0], atol=1e-6)


def test_net_benefit_of_a_resample_is_that_of_its_recordings():
    weights = np.random.default_rng(0).integers(0, 3, size=(10, 4))
    found = NetBenefit((0.2,))(TARGET, RISK, weights.astype(np.float32))[0]
    for resample in range(4):
        rows = np.repeat(np.arange(10), weights[:, resample])
        true = (RISK[rows] >= 0.2) & (TARGET[rows] == 1)
        false = (RISK[rows] >= 0.2) & (TARGET[rows] == 0)
        assert found[resample] == pytest.approx(true.mean() - false.mean() / 4)


def test_a_perfect_model_has_the_prevalence_at_every_threshold():
    found = NetBenefit(THRESHOLDS)(TARGET, TARGET.astype(float), np.ones((10, 1)))
    np.testing.assert_allclose(found, 0.5)
