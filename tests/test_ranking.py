"""AUROC, AUPRC and sensitivity on weighted recordings against scikit-learn; interval of AUROC."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from ecgjax.evaluate import ranking
from ecgjax.evaluate.metrics import patient_bootstrap
from ecgjax.evaluate.resampling import Resamples, make_interval

TARGET = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 1] * 5)
_RNG = np.random.default_rng(0)
SCORES = {
    "distinct": _RNG.normal(size=60) + TARGET,
    "tied": np.round(_RNG.normal(size=60) + TARGET),
    "equal": np.ones(60),
}
WEIGHTS = np.concatenate([np.ones((60, 1), int), _RNG.integers(0, 4, size=(60, 3))], axis=1)


def _repeated(score, resample):
    rows = np.repeat(np.arange(60), WEIGHTS[:, resample])
    return TARGET[rows], score[rows]


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_figures_of_ranking_agree_with_scikit_learn(score):
    weights = WEIGHTS.astype(np.float32)
    auroc = ranking.auroc(TARGET, score, weights)
    precision = ranking.average_precision(TARGET, score, weights)
    for resample in range(WEIGHTS.shape[1]):
        repeated = _repeated(score, resample)
        assert auroc[resample] == pytest.approx(roc_auc_score(*repeated))
        assert precision[resample] == pytest.approx(average_precision_score(*repeated))
        false, true, _ = roc_curve(*repeated, drop_intermediate=False)
        for specificity in ranking.SPECIFICITIES:
            found = ranking.sensitivity(TARGET, score, weights, specificity=specificity)
            assert found[resample] == pytest.approx(true[false <= 1 - specificity + 1e-12].max())


def test_a_specificity_that_is_met_exactly_counts():
    """At 90 % one of ten controls may be above the threshold: the case below it is found."""
    target = np.array([1, 0, 1] + [0] * 9)
    score = -np.arange(12.0)
    found = ranking.sensitivity(target, score, np.ones((12, 1)), specificity=0.9)
    assert found == [1.0]


def test_a_resample_without_cases_or_controls_has_no_figures():
    weights = np.stack([TARGET, 1 - TARGET], axis=1).astype(np.float32)
    for figure in (ranking.auroc, ranking.average_precision, *ranking.sensitivities().values()):
        assert np.isnan(figure(TARGET, SCORES["distinct"], weights)).all()


def test_intervals_of_one_draw_are_those_of_the_bootstrap_over_patients():
    patients = np.arange(60) // 2
    resamples = Resamples.make(TARGET[:, None], patients, number=200)
    found = make_interval(resamples.values(ranking.auroc, TARGET, SCORES["tied"][None]))
    stack = {"a": SCORES["tied"][:, None]}
    expected = patient_bootstrap(TARGET[:, None], stack, patients, draws=200).macro("a")
    assert vars(found) == pytest.approx(vars(expected), abs=1e-6)


def test_the_interval_over_draws_alone_is_that_of_student():
    """Three draws that differ alike in every resample of patients."""
    values = np.array([0.7, 0.75, 0.85])
    resamples = Resamples(np.ones((4, 20_001), np.uint8))
    each_draw = np.repeat(values[:, None], 20_001, axis=1)
    found = make_interval(resamples.mean_over_draws(each_draw))
    expected = scipy.stats.t.interval(0.95, 2, values.mean(), scipy.stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(expected, abs=0.02)
    other = resamples.mean_over_draws(each_draw, stream=1)
    assert abs(np.corrcoef(other[1:], resamples.mean_over_draws(each_draw)[1:])[0, 1]) < 0.05


def test_draws_that_are_alike_widen_nothing():
    resamples = Resamples.make(TARGET[:, None], np.arange(60), number=50)
    one = resamples.values(ranking.auroc, TARGET, SCORES["distinct"][None])
    same = np.stack([SCORES["distinct"]] * 3)
    np.testing.assert_allclose(resamples.values(ranking.auroc, TARGET, same), one)


def test_intervals_stay_within_bounds_and_need_values():
    values = np.array([0.9, 0.5, 0.8, 1.2, 1.1])
    assert make_interval(values, bounds=(0.0, 1.0)).high == 1.0
    assert make_interval(values).high > 1.1
    rare = make_interval(np.array([0.9, np.nan, np.nan, 1.0, np.nan]))
    assert rare.value == 0.9 and np.isnan([rare.low, rare.high]).all()
