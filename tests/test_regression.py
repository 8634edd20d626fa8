"""Metrics of numbers and of chosen classes, compared with scikit-learn and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    recall_score,
    roc_curve,
)

from ecgjax.adapt.linear_probe import fit
from ecgjax.adapt.parts.classifier import supervised_loss
from ecgjax.adapt.parts.number_regression import group_folds, ridge
from ecgjax.errors import InputError
from ecgjax.evaluate.regression import accuracy_bootstrap, number_bootstraps
from ecgjax.evaluate.scores import figures, measure, sensitivity_specificity, youden_thresholds
from ecgjax.outputs import Outputs


@pytest.fixture(scope="module")
def ages():
    """Numbers with a large mean, predictions, and 30 patients of two recordings each."""
    rng = np.random.default_rng(0)
    truth = (1000 + 10 * rng.normal(size=(60, 2))).astype(np.float32)
    predicted = (truth + 5 * rng.normal(size=truth.shape)).astype(np.float32)
    truth[:7, 1] = np.nan
    return truth, predicted, np.arange(60) // 2


def test_numbers_are_measured_as_by_scikit_learn_and_scipy(ages):
    truth, predicted, patients = ages
    measured = number_bootstraps(
        truth, {"a": predicted, "seeds": np.stack([predicted] * 2)}, patients
    )
    for output, rows in ((0, slice(None)), (1, slice(7, None))):
        pair = (truth[rows, output].astype(float), predicted[rows, output].astype(float))
        expected = {
            "R2": r2_score(*pair),
            "MAE": mean_absolute_error(*pair),
            "Pearson r": scipy.stats.pearsonr(*pair).statistic,
        }
        for name, value in expected.items():
            interval = measured[name].per_class("a")[output]
            assert interval.value == pytest.approx(value, rel=1e-5)
            assert interval.low < value < interval.high
            assert measured[name].values["seeds"][output] == pytest.approx(value, rel=1e-5)


def test_intervals_of_numbers_equal_a_plain_loop_over_resampled_patients(ages):
    truth, predicted, patients = ages
    interval = number_bootstraps(truth, {"a": predicted}, patients)["R2"].per_class("a")[0]
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(1000):
        drawn = np.concatenate([[2 * k, 2 * k + 1] for k in rng.integers(30, size=30)])
        draws.append(r2_score(truth[drawn, 0], predicted[drawn, 0]))
    width = interval.high - interval.low
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose([interval.low, interval.high], expected, atol=0.2 * width)


def test_numbers_without_variation_or_label_have_no_r2():
    truth = np.array([[5.0, np.nan]] * 6, np.float32)
    measured = number_bootstraps(truth, {"a": np.zeros((6, 2))}, np.arange(6), draws=10)
    assert np.isnan(measured["R2"].values["a"]).all()
    np.testing.assert_array_equal(measured["MAE"].values["a"], [5, np.nan])
    with pytest.raises(InputError, match=r"targets \(6, 2\) and predictions \(1, 6, 1\)"):
        number_bootstraps(truth, {"a": truth[:, :1]}, np.arange(6))


def test_recall_and_balanced_accuracy_equal_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth = rng.integers(3, size=80)
    onehot = np.eye(4, dtype=np.float32)[truth]  # nobody has the last class
    scores = rng.random((80, 4)) + onehot
    patients = np.arange(80) // 2
    bootstrap = accuracy_bootstrap(onehot, {"a": scores}, patients, draws=200)
    chosen = scores.argmax(1)
    expected = recall_score(truth, chosen, labels=[0, 1, 2], average=None)
    np.testing.assert_allclose(bootstrap.values["a"], [*expected, np.nan])
    table = figures("recall", "abcd", bootstrap, "a")
    assert list(table) == ["balanced accuracy"]
    assert table["balanced accuracy"].value == pytest.approx(expected.mean())
    one = accuracy_bootstrap(np.eye(4)[np.zeros(6, int)], {"a": scores[:6]}, patients[:6], draws=9)
    assert np.isnan(one.macro("a").value)  # always choosing the only class is no merit


@pytest.mark.parametrize(
    ("kind", "metrics", "rows"),
    [
        ("labels", ["AUROC"], ["mean", "a", "b"]),
        ("classes", ["AUROC", "recall"], ["mean", "a", "b"]),
        ("numbers", ["R2", "MAE", "Pearson r"], ["a R2", "b R2"]),
    ],
)
def test_every_kind_has_its_metrics_with_the_main_one_first(kind, metrics, rows):
    truth = np.eye(2, dtype=np.float32)[np.arange(20) % 2]
    measured = measure(kind, truth, {"m": truth * 0.5}, np.arange(20))
    assert list(measured) == metrics
    assert list(figures(metrics[0], "ab", measured[metrics[0]], "m")) == rows


def test_threshold_is_that_of_youden_and_a_half_without_cases():
    rng = np.random.default_rng(3)
    truth = (rng.random((50, 3)) < 0.3).astype(np.float32)
    probabilities = (0.5 * truth + 0.5 * rng.random(truth.shape)).astype(np.float32)
    truth[:9, 1] = np.nan
    truth[:, 2] = 0
    thresholds = youden_thresholds(truth, probabilities)
    shares = sensitivity_specificity(truth, probabilities, thresholds)
    assert thresholds[2] == 0.5 and np.isnan(shares[2][0])
    for k, rows in ((0, slice(None)), (1, slice(9, None))):
        false, true, _ = roc_curve(truth[rows, k], probabilities[rows, k])
        assert sum(shares[k]) - 1 == pytest.approx((true - false).max())


def test_ridge_equals_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(40, 60)) + 3  # more features than recordings
    target = features[:, 0] + rng.normal(size=40)
    weights, bias = ridge(features, target, np.array([0.01, 1.0]))
    for c, weight, level in zip((0.01, 1.0), weights, bias, strict=True):
        model = Ridge(alpha=1 / c).fit(features, target)
        np.testing.assert_allclose(weight, model.coef_, atol=1e-8)
        assert level == pytest.approx(model.intercept_)


def test_probe_of_classes_equals_scikit_learn_and_an_absent_class_is_not_predicted():
    rng = np.random.default_rng(5)
    features = rng.normal(size=(120, 10)).astype(np.float32)
    truth = (features[:, :3] + 0.5 * rng.normal(size=(120, 3))).argmax(1)
    targets = np.eye(4, dtype=np.float32)[truth]
    targets[-20:] = np.nan
    probe = fit(features, targets, np.arange(120) // 2, seed=0, kind="classes")
    standardised = (features - probe.mean) / probe.scale
    model = LogisticRegression(C=probe.chosen_c, tol=1e-8, max_iter=1000)
    expected = model.fit(standardised[:100], truth[:100]).predict_proba(standardised)
    outputs = Outputs("x", "classes", tuple("abcd"))
    predicted = np.asarray(outputs.activate(probe.scores(features)))
    np.testing.assert_allclose(predicted[:, :3], expected, atol=2e-3)
    assert predicted[:, 3].max() < 1e-4


def test_probe_of_numbers_predicts_in_their_own_unit():
    rng = np.random.default_rng(6)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    targets = (60 + 20 * features[:, :1] + rng.normal(size=(200, 1))).astype(np.float32)
    targets[:10] = np.nan
    outputs = Outputs("age", "numbers", ("age",)).fitted(targets)
    assert outputs.means[0] == pytest.approx(np.nanmean(targets.astype(float)))
    standardised = np.asarray(outputs.standardise(targets))
    probe = fit(features, standardised, np.arange(200), seed=0, kind="numbers")
    predicted = np.asarray(outputs.activate(probe.scores(features)))
    assert mean_absolute_error(targets[10:], predicted[10:]) < 1.2


def test_folds_of_known_recordings_separate_patients():
    patients = np.arange(60) // 3
    known = np.arange(60) % 7 > 0
    folds = list(group_folds(known, patients, seed=0))
    assert len(folds) == 5 and (np.sum(folds, axis=0) == known).all()
    for held_out in folds:
        assert not set(patients[held_out]) & set(patients[known & ~held_out])
    assert not list(group_folds(known, patients * 0, seed=0))


@pytest.mark.parametrize("kind", ["labels", "classes", "numbers"])
def test_loss_is_that_of_the_known_targets(kind):
    rng = np.random.default_rng(7)
    logits = rng.normal(size=(6, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(3, size=6)]
    if kind == "numbers":
        targets = (100 + 20 * logits + rng.normal(size=(6, 3))).astype(np.float32)
    gaps = targets.copy()
    gaps[2] = np.nan
    outputs = Outputs("x", kind, tuple("abc")).fitted(gaps)
    known = np.delete(np.arange(6), 2)
    if kind == "labels":
        sigmoid = 1 / (1 + np.exp(-logits[known]))
        expected = log_loss(targets[known].ravel(), sigmoid.ravel())
    elif kind == "classes":
        softmax = np.exp(logits[known]) / np.exp(logits[known]).sum(1, keepdims=True)
        expected = log_loss(targets[known], softmax)
    else:
        deviations = targets[known] - targets[known].mean(0)
        expected = mean_squared_error(deviations / targets[known].std(0), logits[known])
    loss = supervised_loss(outputs, jnp.asarray(logits), jnp.asarray(gaps))
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    # The gradient of a recording without a label is zero, not NaN.
    gradient = jax.grad(lambda x: supervised_loss(outputs, x, jnp.asarray(gaps)))(logits)
    assert (np.asarray(gradient)[2] == 0).all() and np.isfinite(gradient).all()
