"""Drawing what is hidden, and bringing tokens to spans of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.objectives.parts.masking import (
    hidden_by_chance,
    hidden_in_blocks,
    in_spans,
    mean_where,
    silenced,
)


def test_chance_hides_all_but_the_kept():
    hidden, kept = map(np.asarray, hidden_by_chance(jax.random.key(0), (500, 12), 3))
    assert (hidden.sum(-1) == 9).all()
    for row in range(500):
        assert not hidden[row, kept[row]].any() and len(set(kept[row])) == 3
    assert np.abs(hidden.mean(0) - 0.75).max() < 0.08  # four standard errors


@pytest.mark.parametrize(
    ("places", "kept", "shortest"), [(200, 40, 10), (40, 10, 2), (20, 3, 10), (5, 1, 10), (7, 0, 1)]
)
def test_blocks_are_as_long_and_hide_as_much_as_they_should(places, kept, shortest):
    draw = jax.jit(
        jax.vmap(lambda key: hidden_in_blocks(key, places, jnp.asarray(kept), shortest=shortest))
    )
    hidden = np.asarray(draw(jax.random.split(jax.random.key(1), 800)))
    assert (hidden.sum(1) == places - kept).all()
    edges = np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)
    for row in edges:
        lengths = np.nonzero(row == -1)[0] - np.nonzero(row == 1)[0]
        assert lengths.min() >= min(shortest, places - kept)
    often = hidden.mean(0)
    assert np.abs(often - often[::-1]).max() < 0.1  # four standard errors: no end is hidden more
    if kept:
        assert 0 < often.min() and len({row.tobytes() for row in hidden}) > 1


def test_silence_is_where_it_is_hidden():
    signal = jnp.ones((1, 25, 2))
    hidden = jnp.array([[[True, False, True], [False, True, False]]])
    found = np.asarray(silenced(signal, hidden, 10))[0]
    np.testing.assert_array_equal(found[:, 0], [0] * 10 + [1] * 10 + [0] * 5)
    np.testing.assert_array_equal(found[:, 1], [1] * 10 + [0] * 10 + [1] * 5)
    both = np.asarray(silenced(signal, hidden[:, :1], 10))[0]
    np.testing.assert_array_equal(both[:, 0], both[:, 1])


@pytest.mark.parametrize(("tokens", "samples"), [(4, 25), (32, 25), (100, 10), (3, 7), (1, 30)])
def test_spans_are_means_of_the_tokens_that_they_overlap(tokens, samples):
    """Against a token for every thousandth of a sample."""
    values = np.random.default_rng(0).normal(size=(2, tokens, 3)).astype(np.float32)
    found = in_spans(jnp.asarray(values), 100, samples)
    fine = values.astype(np.float64)[:, (np.arange(100_000) * tokens) // 100_000]
    pieces = [
        fine[:, 1000 * first : 1000 * (first + samples)].mean(1) for first in range(0, 100, samples)
    ]
    np.testing.assert_allclose(found, np.stack(pieces, axis=1), atol=2e-4)


def test_mean_over_nothing_is_zero():
    assert mean_where(jnp.ones(3), jnp.zeros(3, bool)) == 0
    assert mean_where(jnp.array([1.0, 5.0, 9.0]), jnp.array([True, False, True])) == 5
