"""Intervals over patients and draws of labels: coverage on simulated scores, and pairing."""

import numpy as np
import pytest
import scipy.stats

from ecgjax.evaluate.label_draws import LabelDraws, replicates
from ecgjax.evaluate.metrics import auroc, patient_bootstrap

DRAWS = 5
PATIENTS = np.arange(120)
TARGETS = (PATIENTS % 3 == 0).astype(np.float32)[:, None]
STRENGTHS = {"better": 1.0, "worse": 0.8}
"""Mean distance of cases from controls in standard deviations, over all draws of labels."""


def _simulated(rng, seed, *, spread, interplay):
    """Measures two methods with five draws each, on one set of patients.

    A score is strength * case + noise. The strength differs between draws; a part of the noise
    belongs to the patient, the rest to the patient in one draw (the interplay).
    """
    common = rng.normal(size=(len(PATIENTS), 1))
    scores = {}
    for method, mean in STRENGTHS.items():
        for k in range(DRAWS):
            own = rng.normal(size=common.shape)
            noise = np.sqrt(1 - interplay) * common + np.sqrt(interplay) * own
            scores[f"{method} {k}"] = (mean + spread * rng.normal()) * TARGETS + noise
    single = patient_bootstrap(TARGETS, scores, PATIENTS, draws=150, seed=seed)
    values, resampled = (
        {method: np.stack([part[f"{method} {k}"] for k in range(DRAWS)]) for method in STRENGTHS}
        for part in (single.values, single.draws)
    )
    return LabelDraws(values, resampled, single.level)


def _expected_auroc(strength, spread):
    """Returns the expected AUROC over draws and patients, by integration over the strength."""
    strengths = strength + spread * scipy.stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    return scipy.stats.norm.cdf(strengths / np.sqrt(2)).mean()


@pytest.mark.parametrize(("spread", "interplay"), [(0.0, 0.5), (0.3, 0.2)])
def test_intervals_cover_the_expected_auroc_over_draws_and_patients(spread, interplay):
    """Between 93 and 97 %; the bootstrap over patients alone covers less where draws differ."""
    truth = {method: _expected_auroc(mean, spread) for method, mean in STRENGTHS.items()}
    difference = truth["better"] - truth["worse"]
    rng = np.random.default_rng(0)
    hits = np.zeros(3)
    trials = 200
    for seed in range(trials):
        measured = _simulated(rng, seed, spread=spread, interplay=interplay)
        own = measured.macro("better")
        paired = measured.macro("better", minus="worse")
        alone = measured.resampled["better"].mean(axis=0) - measured.resampled["worse"].mean(axis=0)
        low, high = np.quantile(alone, [0.025, 0.975])
        hits += (
            own.low <= truth["better"] <= own.high,
            paired.low <= difference <= paired.high,
            low <= difference <= high,
        )
    own, paired, patients_alone = hits / trials
    assert 0.93 <= own <= 0.97
    assert 0.93 <= paired <= 0.97
    assert patients_alone < 0.87 or not spread


def test_errors_of_draws_have_students_distribution():
    """The patients of all draws agree, so that s^2 / K is the whole variance of the mean."""
    values = np.array([0.7, 0.72, 0.75, 0.8, 0.71])
    resampled = np.broadcast_to(values[:, None], (5, 4000))
    errors = replicates(values, resampled) - values.mean()
    errors /= values.std(ddof=1) / np.sqrt(5)
    assert scipy.stats.kstest(errors, scipy.stats.t(df=4).cdf).pvalue > 0.01
    np.testing.assert_array_equal(replicates(values[:1], resampled[:1]), resampled[0])


def test_methods_are_measured_and_paired_by_draw():
    """A constant shift between two methods with very different draws is certain."""
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(3, 120, 1)) + rng.normal(size=(3, 1, 1)) * TARGETS
    measured = LabelDraws.measure(
        "labels", TARGETS, {"a": draws, "same": 2 * draws, "one": draws[:1]}, PATIENTS
    )
    each = [auroc(TARGETS, one)[0] for one in draws]
    own = measured.macro("a")
    assert own.value == pytest.approx(np.mean(each))
    assert own == measured.per_class("a")[0]
    nothing = measured.macro("a", minus="same")
    assert (nothing.low, nothing.value, nothing.high) == (0, 0, 0)
    other = measured.macro("a", minus="one")  # no pairs: the draws of `a` differ
    assert other.value == pytest.approx(np.mean(each) - each[0])
    assert other.low < other.value < other.high


def test_mean_is_over_the_classes_that_count():
    rng = np.random.default_rng(2)
    targets = np.concatenate([TARGETS, 0 * TARGETS, np.roll(TARGETS, 1, axis=0)], axis=1)
    scores = rng.normal(size=(2, 120, 3)) + targets
    measured = LabelDraws.measure("labels", targets, {"a": scores}, PATIENTS)
    first, absent, third = measured.per_class("a")
    assert np.isnan(absent.value)
    assert measured.defined("a").tolist() == [True, False, True]
    assert measured.macro("a").value == pytest.approx((first.value + third.value) / 2)
    assert measured.macro("a", among=np.array([False, True, True])) == third
