"""Linear probe: compared with scikit-learn, on simulated data, and with very few labels."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from ecgjax.adapt.linear_probe import fit
from ecgjax.adapt.parts.label_regression import FALLBACK_STRENGTH, STRENGTHS, patient_folds
from ecgjax.errors import InputError
from ecgjax.evaluate.metrics import auroc


def _recordings(rng, n, *, features=20, classes=2):
    """Returns embeddings, targets and patients, with two recordings for each patient.

    Features have different scales. The first ones depend on the classes.
    """
    targets = (rng.random((n, classes)) < 0.4).astype(np.float32)
    embeddings = rng.normal(size=(n, features))
    embeddings[:, :classes] += 2 * targets
    embeddings = (embeddings * np.logspace(-1, 1, features) + 5).astype(np.float32)
    return embeddings, targets, np.arange(n) // 2


def test_probe_equals_scikit_learn_on_standardised_embeddings():
    embeddings, targets, patients = _recordings(np.random.default_rng(0), 200)
    probe = fit(embeddings, targets, patients, seed=0)
    standardised = (embeddings - embeddings.mean(0)) / embeddings.std(0)
    for k in range(2):
        model = LogisticRegression(C=probe.chosen_c, tol=1e-6).fit(standardised, targets[:, k])
        expected = model.decision_function(standardised)
        np.testing.assert_allclose(probe.scores(embeddings)[:, k], expected, rtol=0.02, atol=0.02)


def test_probe_ranks_unseen_recordings():
    rng = np.random.default_rng(1)
    probe = fit(*_recordings(rng, 300), seed=0)
    embeddings, targets, _ = _recordings(rng, 300)
    assert probe.scores(embeddings).shape == (300, 2)
    assert auroc(targets, probe.scores(embeddings)).min() > 0.85


@pytest.mark.parametrize("noise", [0.5, 4.0])
def test_regularisation_equals_that_of_a_grid_search(noise):
    """One recording for each patient, so that scikit-learn's folds separate patients as well."""
    rng = np.random.default_rng(2)
    embeddings = rng.normal(size=(120, 40)).astype(np.float32)
    targets = (embeddings.sum(1, keepdims=True) / 6 + noise * rng.normal(size=(120, 1)) > 0).astype(
        np.float32
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    search = GridSearchCV(LogisticRegression(), {"C": STRENGTHS}, scoring="roc_auc", cv=folds)
    standardised = (embeddings - embeddings.mean(0)) / embeddings.std(0)
    expected = search.fit(standardised, targets[:, 0]).best_params_["C"]
    assert fit(embeddings, targets, np.arange(120), seed=0).chosen_c == expected


@pytest.mark.parametrize("positive_patients", [2, 5, 30])
def test_folds_separate_patients_and_spread_the_condition(positive_patients):
    rng = np.random.default_rng(3)
    patients = rng.permutation(np.repeat(np.arange(40), 3))
    is_case = (patients < positive_patients) & (rng.random(120) < 0.7)
    is_case[[np.flatnonzero(patients == p)[0] for p in range(positive_patients)]] = True
    folds = list(patient_folds(is_case, patients, seed=0))
    assert len(folds) == min(5, positive_patients)
    assert np.sum(folds, axis=0).tolist() == [1] * 120
    for held_out in folds:
        assert not set(patients[held_out]) & set(patients[~held_out])
        assert (
            0 < is_case[held_out].sum() < held_out.sum()
            and 0 < is_case[~held_out].sum() < (~held_out).sum()
        )


def test_large_sets_use_one_fold():
    is_case = np.random.default_rng(4).random(6000) < 0.1
    (held_out,) = patient_folds(is_case, np.arange(6000), seed=0)
    assert held_out.mean() == pytest.approx(0.2, abs=0.01)


def test_two_positives_among_fifty_recordings_are_enough():
    embeddings, targets, patients = _recordings(np.random.default_rng(5), 50, features=512)
    targets[:] = 0
    targets[[3, 31], 0] = 1
    targets[:, 1] = 1  # a class with one value
    probe = fit(embeddings, targets, patients, seed=0)
    scores = probe.scores(embeddings)
    assert auroc(targets, scores)[0] == 1
    np.testing.assert_allclose(scores[:, 1], np.log(50.5 / 0.5), rtol=1e-6)
    targets[31] = 0  # a single positive cannot be cross-validated
    assert fit(embeddings, targets, patients, seed=0).chosen_c == FALLBACK_STRENGTH


def test_label_without_cases_or_controls_gets_its_share():
    """Nothing can be learned about it, but it is not as likely as not."""
    embeddings, targets, patients = _recordings(np.random.default_rng(9), 40, classes=4)
    targets[:, 1] = 0
    targets[:, 2] = 1
    targets[:, 3] = np.nan
    probe = fit(embeddings, targets, patients, seed=0)
    probability = 1 / (1 + np.exp(-probe.scores(embeddings)))
    expected = np.tile([0.5 / 41, 40.5 / 41, 0.5], (40, 1))
    np.testing.assert_allclose(probability[:, 1:], expected, rtol=1e-4)
    assert np.ptp(probability[:, 0]) > 0


def test_constant_features_get_no_weight():
    embeddings, targets, patients = _recordings(np.random.default_rng(6), 60)
    embeddings[:, 7] = 3
    probe = fit(embeddings, targets, patients, seed=0)
    np.testing.assert_allclose(probe.weights[:, 7], 0, atol=1e-6)
    assert np.isfinite(probe.scores(embeddings + 1)).all()
    constant = fit(np.ones_like(embeddings), targets, patients, seed=0).scores(embeddings)
    assert np.ptp(constant, axis=0).max() < 1e-5


def test_same_seed_same_probe():
    data = _recordings(np.random.default_rng(7), 100)
    first = dataclasses.asdict(fit(*data, seed=1))
    second = dataclasses.asdict(fit(*data, seed=1))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_bad_input_is_named():
    embeddings, targets, patients = _recordings(np.random.default_rng(8), 20)
    with pytest.raises(InputError, match="20 embeddings, 19 targets, 20 patients"):
        fit(embeddings, targets[1:], patients, seed=0)
    embeddings[4] = np.nan
    with pytest.raises(InputError, match="1 of 20 are not finite"):
        fit(embeddings, targets, patients, seed=0)
