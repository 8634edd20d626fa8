"""The encoder of wav2vec 2.0: published size, and its steps one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.wav2vec_transformer import Wav2vecTransformer

TINY = Wav2vecTransformer(
    channels=4, halvings=2, width=8, layers=1, heads=2, position_kernel=8, position_groups=2
)
BLOCK = 12 * 768**2
"""Parameters of a BERT-base block without biases and layer norms."""


def _size(encoder) -> int:
    signal = jax.ShapeDtypeStruct((1, 2500, 12), jnp.float32)
    variables = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), signal
    )
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_published_widths_give_the_published_number_of_parameters():
    """ECG-FM has 90.9 M with biases (9 x 768 per block, 0.1 M) and pre-training heads (0.5 M)."""
    size = _size(Wav2vecTransformer(width=768, layers=12, heads=12))
    positions = 768 * (768 // 16) * 128
    convolutions = 2 * 12 * 256 + 3 * 2 * 256**2
    assert 0 < size - 12 * BLOCK - positions - convolutions - 256 * 768 < 0.03e6
    heads = 2 * 320 * (256 + 128) + 256 * 256 + 768 * 256
    assert round((size + heads + 12 * 9 * 768) / 1e6, 1) == 90.9
    assert round(size / 1e6, 1) == 90.3


def test_default_has_3_4_million_parameters():
    assert round(_size(Wav2vecTransformer()) / 1e6, 1) == 3.4


@pytest.fixture(scope="module")
def variables():
    return jax.jit(functools.partial(TINY.init, train=False))(
        jax.random.key(0), jnp.zeros((2, 64, 3))
    )


def test_steps_in_order_give_tokens_and_embedding(variables):
    signal = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
    tokens, embedding = TINY.apply(variables, signal, train=False)
    hidden = signal
    for step in ("features", "normalise", "project", "context"):
        hidden = TINY.apply(variables, hidden, method=step)
    np.testing.assert_allclose(hidden[0], tokens, atol=1e-5)
    np.testing.assert_allclose(hidden[1], embedding, atol=1e-5)
    assert tokens.shape == (2, 16, 8)


def test_features_are_local_and_tokens_are_not(variables):
    signal = np.random.default_rng(0).normal(size=(1, 64, 3)).astype(np.float32)
    # Two pairs of samples change places: the statistics of the first normalisation stay the same.
    swapped = signal.copy()
    swapped[0, 32:36] = signal[0, [34, 35, 32, 33]]
    features = TINY.apply(variables, signal, method="features")
    difference = np.abs(features - TINY.apply(variables, swapped, method="features")).max((0, 2))
    assert difference[8] > 1e-3 and np.delete(difference, 8).max() < 1e-5
    tokens, _ = TINY.apply(variables, signal, train=False)
    swapped_tokens, _ = TINY.apply(variables, swapped, train=False)
    assert np.abs(tokens - swapped_tokens).max((0, 2)).min() > 1e-7
