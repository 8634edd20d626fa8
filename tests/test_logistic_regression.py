"""Regressions fitted at once, each compared with scikit-learn on the recordings it may use."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ecgjax.adapt.parts.logistic_regression import Regressions

STRENGTHS = np.array([1e-3, 1e-1, 10.0])


@pytest.mark.parametrize(("recordings", "rare"), [(60, 0.3), (800, 0.3), (800, 0.01)])
def test_each_regression_equals_scikit_learns(recordings, rare):
    """Fewer recordings than features, more, and a rare class; with correlated features."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(recordings, 8))
    features = causes @ rng.normal(size=(8, 100)) + 0.3 * rng.normal(size=(recordings, 100))
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    score = causes[:, 0] + rng.normal(size=recordings)
    case = score > np.quantile(score, 1 - rare)
    case[:2] = [True, False]
    all_recordings = np.ones(recordings, bool)
    training_fold = np.arange(recordings) % 5 != 4
    used = np.stack([all_recordings, training_fold], axis=1).repeat(3, axis=1)
    cases = np.repeat(case[:, None], 6, axis=1)
    weights, bias = Regressions(features).fit(cases, used, np.tile(STRENGTHS, 2))
    for column, c in enumerate(np.tile(STRENGTHS, 2)):
        rows = used[:, column]
        model = LogisticRegression(C=c, tol=1e-8, solver="newton-cholesky").fit(
            features[rows].astype(float), case[rows]
        )
        expected = model.decision_function(features)
        scores = features @ weights[:, column] + bias[column]
        assert np.corrcoef(expected, scores)[0, 1] > 0.999
        minimum = _objective(expected, model.coef_[0], c, case, rows)
        assert _objective(scores, weights[:, column], c, case, rows) <= 1.003 * minimum


def _objective(score, weights, c, case, rows):
    margin = np.where(case, score, -score)[rows].astype(float)
    return 0.5 * np.sum(np.square(weights, dtype=float)) + c * np.logaddexp(0, -margin).sum()


def test_regression_without_recordings_is_zero():
    features = np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32)
    weights, bias = Regressions(features).fit(
        np.ones((10, 1), bool), np.zeros((10, 1), bool), np.ones(1)
    )
    assert not weights.any() and not bias.any()
