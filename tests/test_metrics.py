"""AUROC and its bootstrap, compared with scikit-learn, a plain loop, and simulated data."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from ecgjax.errors import InputError
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.label_draws import LabelDraws
from ecgjax.evaluate.metrics import _weighted_auroc, auroc, macro_auroc, patient_bootstrap
from ecgjax.evaluate.regression import number_bootstraps


def _cohort(rng, *, patients=60, visits=3, classes=2, separation=1.0, cluster=0.0, decimals=1):
    """Returns targets, scores with ties, and patients.

    `cluster` is the share of the scores' variance that lies between patients.
    """
    patient = np.repeat(np.arange(patients), visits)
    disease = (rng.random((patients, classes)) < 0.4)[patient].astype(np.float32)
    shared = rng.normal(size=(patients, classes))[patient]
    noise = math.sqrt(cluster) * shared + math.sqrt(1 - cluster) * rng.normal(size=disease.shape)
    return disease, np.round(separation * disease + noise, decimals), patient


def test_auroc_equals_scikit_learn():
    targets, scores, _ = _cohort(np.random.default_rng(0), classes=4)
    expected = [roc_auc_score(targets[:, k], scores[:, k]) for k in range(4)]
    np.testing.assert_allclose(auroc(targets, scores), expected, rtol=1e-12)
    assert macro_auroc(targets, scores) == pytest.approx(np.mean(expected))


def test_class_with_one_value_is_nan_and_left_out_of_the_macro_mean():
    targets = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    scores = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(auroc(targets, scores), [0.25, np.nan, np.nan])
    assert macro_auroc(targets, scores) == 0.25
    assert math.isnan(macro_auroc(targets[:, 1:], scores[:, 1:]))


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_weighted_auroc_equals_auroc_of_repeated_rows(decimals):
    rng = np.random.default_rng(decimals)
    targets, scores, _ = _cohort(rng, classes=1, decimals=decimals)
    weights = rng.integers(0, 4, size=(len(targets), 7))
    values = _weighted_auroc(targets[:, 0], scores[:, 0], weights.astype(np.float32))
    for draw, times in enumerate(weights.T):
        expected = roc_auc_score(np.repeat(targets[:, 0], times), np.repeat(scores[:, 0], times))
        assert values[draw] == pytest.approx(expected, rel=1e-5)


def _naive_macro(targets, scores):
    """Returns the share of (positive, negative) pairs in the right order, mean over classes."""
    shares = []
    for target, score in zip(targets.T, scores.T, strict=True):
        positive = score[target == 1, None]
        negative = score[target == 0]
        shares.append(np.mean((positive > negative) + 0.5 * (positive == negative)))
    return np.mean(shares)


def _naive_draws(targets, scores, patient, draws, rng):
    """Returns the macro AUROC of resamples: the rows of the drawn patients, stacked.

    Resamples without a positive or a negative of a class are drawn again.
    """
    rows = [np.flatnonzero(patient == p) for p in np.unique(patient)]
    values = []
    while len(values) < draws:
        drawn = np.concatenate([rows[p] for p in rng.integers(len(rows), size=len(rows))])
        if np.ptp(targets[drawn], axis=0).all():
            values.append([_naive_macro(targets[drawn], method[drawn]) for method in scores])
    return np.array(values)


def test_intervals_equal_a_plain_loop_over_resampled_patients():
    rng = np.random.default_rng(1)
    targets, scores, patient = _cohort(rng, patients=30, cluster=0.5)
    worse = scores + rng.normal(size=scores.shape)
    bootstrap = patient_bootstrap(targets, {"a": scores, "b": worse}, patient, draws=2000)
    naive = _naive_draws(targets, [scores, worse], patient, 1000, rng)
    for interval, draws in (
        (bootstrap.macro("a"), naive[:, 0]),
        (bootstrap.macro("a", minus="b"), naive[:, 0] - naive[:, 1]),
    ):
        width = interval.high - interval.low
        expected = np.quantile(draws, [0.025, 0.975])
        np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.15 * width)
    assert bootstrap.macro("a").value == macro_auroc(targets, scores)


def test_difference_is_paired_and_seeds_are_averaged():
    rng = np.random.default_rng(2)
    targets, scores, patient = _cohort(rng)
    seeds = np.stack([scores, scores + rng.normal(size=scores.shape)])
    bootstrap = patient_bootstrap(
        targets, {"one": scores, "same": scores * 2, "seeds": seeds}, patient, draws=50
    )
    assert dataclasses.astuple(bootstrap.macro("one", minus="same")) == (0, 0, 0)
    second = patient_bootstrap(targets, {"second": seeds[1]}, patient, draws=50)
    np.testing.assert_allclose(
        bootstrap.draws["seeds"], (bootstrap.draws["one"] + second.draws["second"]) / 2, rtol=1e-6
    )
    expected = [interval.value for interval in bootstrap.per_class("seeds")]
    np.testing.assert_allclose(expected, (auroc(targets, seeds[0]) + auroc(targets, seeds[1])) / 2)


def test_interval_covers_the_truth_and_ignoring_patients_does_not():
    """Two normal distributions, one standard deviation apart: AUROC is Phi(1 / sqrt 2)."""
    truth = scipy.stats.norm.cdf(1 / math.sqrt(2))
    rng = np.random.default_rng(3)
    hits = {"patients": 0, "recordings": 0}
    for _ in range(200):
        targets, scores, patient = _cohort(rng, visits=5, classes=1, cluster=0.9, decimals=8)
        for unit, groups in (("patients", patient), ("recordings", np.arange(len(patient)))):
            interval = patient_bootstrap(targets, {"a": scores}, groups, draws=200).macro("a")
            hits[unit] += int(interval.low <= truth <= interval.high)
    assert 0.90 <= hits["patients"] / 200 <= 0.98
    assert hits["recordings"] / 200 < 0.75


def test_every_resample_keeps_every_class():
    targets = np.zeros((40, 2), np.float32)
    targets[:10, 0] = 1
    targets[0, 1] = 1  # one positive patient, absent from 36 % of all resamples
    scores = np.random.default_rng(4).normal(size=targets.shape)
    bootstrap = patient_bootstrap(targets, {"a": scores}, np.arange(40), draws=300)
    assert bootstrap.draws["a"].shape == (300, 2) and np.isfinite(bootstrap.draws["a"]).all()


def test_class_with_one_value_is_left_out_of_the_bootstrap():
    targets, scores, patient = _cohort(np.random.default_rng(5))
    targets[:, 1] = 0
    bootstrap = patient_bootstrap(targets, {"a": scores}, patient, draws=20)
    assert bootstrap.macro("a") == bootstrap.per_class("a")[0]
    assert math.isnan(bootstrap.per_class("a")[1].value) and math.isnan(
        bootstrap.per_class("a")[1].low
    )


def test_bad_input_is_named():
    targets, scores, patient = _cohort(np.random.default_rng(6))
    with pytest.raises(InputError, match=r"targets \(180, 2\) and scores \(180, 1\)"):
        auroc(targets, scores[:, :1])
    with pytest.raises(InputError, match="180 recordings and 179 patients"):
        patient_bootstrap(targets, {"a": scores}, patient[1:])
    scores[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 360 are NaN"):
        auroc(targets, scores)


def test_classes_without_cases_and_classes_too_rare_for_resampling_are_not_fatal():
    targets, scores, patient = _cohort(np.random.default_rng(7))
    empty = patient_bootstrap(targets * 0, {"a": scores}, patient, draws=20)
    assert math.isnan(empty.macro("a").value) and math.isnan(empty.per_class("a")[0].high)
    rare = np.eye(40, dtype=np.float32)  # 40 classes of one patient each: no resample has them all
    scores = rare + np.random.default_rng(8).normal(size=rare.shape)
    bootstrap = patient_bootstrap(rare, {"a": scores}, np.arange(40), draws=200)
    absent = np.isnan(bootstrap.draws["a"]).mean()
    assert absent == pytest.approx(math.exp(-1), abs=0.02)
    assert bootstrap.macro("a").value == macro_auroc(rare, scores)
    assert bootstrap.macro("a").low < bootstrap.macro("a").value < bootstrap.macro("a").high


def test_one_patient_has_a_value_and_no_interval():
    """Its resamples are all alike; a width of 0 would look exact."""
    targets, scores, _ = _cohort(np.random.default_rng(9))
    alone = np.zeros(len(targets), int)
    numbers = number_bootstraps(targets, {"a": scores}, alone, draws=20)
    bootstrap = patient_bootstrap(targets, {"a": scores}, alone, draws=20)
    for each in (bootstrap, LabelDraws.stack(bootstrap, {"a": ["a"]}), numbers["R2"]):
        for interval in (each.macro("a"), *each.per_class("a")):
            assert np.isnan([interval.low, interval.high]).all()
            assert interval.text() == f"{interval.value:.3f} (no interval: too few patients)"
    assert bootstrap.macro("a").value == macro_auroc(targets, scores)


def test_interval_as_text():
    assert Interval(0.9, 0.85, 0.95).text() == "0.900 (0.850-0.950)"
    assert Interval(-0.079, -0.415, 0.006).text() == "-0.079 (-0.415 to 0.006)"
    assert Interval(0.05, 0.01, 0.09).text(signed=True) == "+0.050 (+0.010 to +0.090)"
    assert Interval(math.nan, math.nan, math.nan).text() == "n/a"


def test_recordings_without_a_label_are_left_out_of_its_auroc():
    targets, scores, patient = _cohort(np.random.default_rng(9))
    rows = np.random.default_rng(10).permutation(len(targets))[:90]
    gaps = targets.copy()
    gaps[rows, 1] = np.nan
    known = np.setdiff1d(np.arange(len(targets)), rows)
    values = auroc(gaps, scores)
    assert values[0] == auroc(targets, scores)[0]
    assert values[1] == pytest.approx(roc_auc_score(targets[known, 1], scores[known, 1]))
    own = patient_bootstrap(gaps, {"a": scores}, patient, draws=400).per_class("a")[1]
    assert own.value == values[1] and own.low < own.value < own.high
