"""Random masks, block masks, masked signals, and the resampling of tokens to spans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.objectives.parts.masking import (
    block_mask,
    mask_signal,
    masked_mean,
    random_mask,
    resample_tokens,
)


def test_a_random_mask_leaves_the_asked_number_of_positions_visible():
    mask, visible = map(np.asarray, random_mask(jax.random.key(0), (500, 12), 3))
    assert (mask.sum(-1) == 9).all()
    for row in range(500):
        assert not mask[row, visible[row]].any()
        assert len(set(visible[row])) == 3
    assert np.abs(mask.mean(0) - 0.75).max() < 0.08  # four standard errors


@pytest.mark.parametrize(
    ("positions", "visible", "shortest"),
    [(200, 40, 10), (40, 10, 2), (20, 3, 10), (5, 1, 10), (7, 0, 1)],
)
def test_blocks_have_the_asked_length_and_masked_share(positions, visible, shortest):
    draw = jax.jit(
        jax.vmap(lambda key: block_mask(key, positions, jnp.asarray(visible), shortest=shortest))
    )
    mask = np.asarray(draw(jax.random.split(jax.random.key(1), 800)))
    assert (mask.sum(1) == positions - visible).all()
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(int), axis=1)
    for row in edges:
        lengths = np.nonzero(row == -1)[0] - np.nonzero(row == 1)[0]
        assert lengths.min() >= min(shortest, positions - visible)
    frequency = mask.mean(0)
    # Four standard errors: neither end is masked more often than the other.
    assert np.abs(frequency - frequency[::-1]).max() < 0.1
    if visible:
        assert frequency.min() > 0
        assert len({row.tobytes() for row in mask}) > 1


def test_the_signal_is_zero_where_it_is_masked():
    signal = jnp.ones((1, 25, 2))
    mask = jnp.array([[[True, False, True], [False, True, False]]])
    masked = np.asarray(mask_signal(signal, mask, 10))[0]
    np.testing.assert_array_equal(masked[:, 0], [0] * 10 + [1] * 10 + [0] * 5)
    np.testing.assert_array_equal(masked[:, 1], [1] * 10 + [0] * 10 + [1] * 5)
    both_leads = np.asarray(mask_signal(signal, mask[:, :1], 10))[0]
    np.testing.assert_array_equal(both_leads[:, 0], both_leads[:, 1])


@pytest.mark.parametrize(("tokens", "span"), [(4, 25), (32, 25), (100, 10), (3, 7), (1, 30)])
def test_spans_are_weighted_means_of_overlapping_tokens(tokens, span):
    """The reference repeats each token over thousandths of a sample."""
    values = np.random.default_rng(0).normal(size=(2, tokens, 3)).astype(np.float32)
    resampled = resample_tokens(jnp.asarray(values), 100, span)
    fine = values.astype(np.float64)[:, (np.arange(100_000) * tokens) // 100_000]
    spans = [fine[:, 1000 * start : 1000 * (start + span)].mean(1) for start in range(0, 100, span)]
    np.testing.assert_allclose(resampled, np.stack(spans, axis=1), atol=2e-4)


def test_the_mean_over_an_empty_mask_is_zero():
    assert masked_mean(jnp.ones(3), jnp.zeros(3, bool)) == 0
    assert masked_mean(jnp.array([1.0, 5.0, 9.0]), jnp.array([True, False, True])) == 5
