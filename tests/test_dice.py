"""Dice coefficients and their bootstrap, against worked examples and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecgjax.errors import InputError
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.signals import UNMARKED

PATIENTS = np.arange(90) // 2


def test_dice_is_computed_over_all_recordings_together():
    truth = np.array([[1, 1, 0, 2, 3, UNMARKED], [0, 0, 0, 2, 2, 3]])
    predicted = np.array([[1, 0, 0, 2, 3, 1], [1, 0, 0, 2, 2, 0]])
    bootstrap = dice_bootstrap(truth, {"model": predicted}, np.array([0, 1]))
    values = [interval.value for interval in bootstrap.per_class("model")]
    assert values == pytest.approx([2 / 4, 1.0, 2 / 3])
    assert bootstrap.macro("model").value == pytest.approx((0.5 + 1 + 2 / 3) / 3)
    with pytest.raises(InputError, match="give the same shapes"):
        dice_bootstrap(truth, {"model": predicted[:, :4]}, np.array([0, 1]))


def test_dice_is_scikit_learns_f1_and_differences_are_paired():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=(90, 50))
    # Some patients are difficult for both methods: the difference is more certain than each method.
    difficulty = rng.random(45)[PATIENTS, None]
    worse = np.where(rng.random((2, 90, 50)) < difficulty * 0.6, 0, truth)
    better = np.where(rng.random((2, 90, 50)) < difficulty * 0.5, 0, truth)
    bootstrap = dice_bootstrap(truth, {"worse": worse, "better": better}, PATIENTS)
    for wave, interval in enumerate(bootstrap.per_class("worse"), start=1):
        scores = [f1_score(truth.ravel() == wave, seed.ravel() == wave) for seed in worse]
        assert interval.value == pytest.approx(np.mean(scores))
        assert interval.low < interval.value < interval.high
    gain = bootstrap.macro("better", minus="worse")
    single = bootstrap.macro("worse")
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.5 * (single.high - single.low)


def test_wave_absent_from_the_truth_has_no_coefficient_even_if_predicted():
    truth = np.array([[0, 2, 3], [0, 2, 3]])
    with_p_wave = np.array([[1, 2, 3], [0, 2, 3]])
    methods = {"right": truth, "wrong": with_p_wave}
    bootstrap = dice_bootstrap(truth, methods, np.array([0, 1]))
    for method in methods:
        p, qrs, _ = bootstrap.per_class(method)
        assert np.isnan([p.value, p.low, p.high]).all()
        assert qrs.value == qrs.low == 1
        assert bootstrap.macro(method).value == 1
    with pytest.raises(InputError, match="2 recordings have no P, QRS or T"):
        dice_bootstrap(np.zeros((2, 3), np.uint8), {"right": truth}, np.array([0, 1]))
