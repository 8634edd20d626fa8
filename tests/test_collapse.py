"""The metrics that show a collapsed run."""

import jax
import numpy as np

from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.train.sharding import data_mesh, split


def _metrics(embedding):
    metrics = collapse_metrics(jax.numpy.asarray(embedding))
    return {name: float(value) for name, value in metrics.items()}


def test_rank_is_the_number_of_directions_at_any_scale():
    rng = np.random.default_rng(0)
    for rank in (1, 4, 16):
        directions = np.linalg.qr(rng.normal(size=(32, rank)))[0]
        embedding = np.linalg.qr(rng.normal(size=(64, rank)))[0] @ directions.T
        embedding -= embedding.mean(0)
        for scale in (1e-3, 1e3):
            assert abs(_metrics(scale * embedding)["embedding_rank"] - rank) < 0.1 * rank


def test_rank_equals_the_participation_ratio_of_eigenvalues():
    embedding = np.random.default_rng(1).gamma(2.0, size=(64, 12)) * np.arange(1, 13)
    values = np.linalg.eigvalsh(np.cov(embedding.T))
    metrics = _metrics(embedding)
    np.testing.assert_allclose(
        metrics["embedding_rank"], values.sum() ** 2 / (values**2).sum(), rtol=1e-4
    )
    expected = embedding.std(0).mean() / np.sqrt((embedding**2).mean())
    np.testing.assert_allclose(metrics["embedding_std"], expected, rtol=1e-4)


def test_only_the_first_rows_of_a_large_batch_are_used():
    embedding = np.random.default_rng(2).normal(size=(500, 8))
    assert _metrics(embedding) == _metrics(embedding[:64])


def test_devices_send_no_single_rows_to_each_other():
    """They did, row by row, when the rows were selected by a slice."""
    rows = np.random.default_rng(3).normal(size=(256, 8)).astype(np.float32)
    shared = jax.device_put(rows, split(data_mesh()))
    compiled = jax.jit(collapse_metrics).lower(shared).compile()
    assert "all-reduce" in compiled.as_text()
    assert "permute" not in compiled.as_text()
    for name, value in compiled(shared).items():
        np.testing.assert_allclose(value, _metrics(rows)[name], rtol=1e-5)


def test_equal_embeddings_have_no_spread():
    assert _metrics(np.full((64, 8), 3.0))["embedding_std"] < 1e-5
    assert _metrics(np.zeros((64, 8))) == {"embedding_std": 0.0, "embedding_rank": 0.0}
