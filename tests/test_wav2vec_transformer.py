"""The encoder of wav2vec 2.0: published size, and steps that are the whole."""

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
"""Parameters of a block of BERT-base without biases and normalisations."""


def _size(encoder) -> int:
    signal = jax.ShapeDtypeStruct((1, 2500, 12), jnp.float32)
    variables = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), signal
    )
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_with_the_published_sizes_it_has_the_published_size():
    """ECG-FM has 90.9 M with biases (9 x 768 a block, 0.1 M) and the heads of pre-training (0.5 M)."""
    size = _size(Wav2vecTransformer(width=768, layers=12, heads=12))
    positions = 768 * (768 // 16) * 128
    convolutions = 2 * 12 * 256 + 3 * 2 * 256**2
    assert 0 < size - 12 * BLOCK - positions - convolutions - 256 * 768 < 0.03e6
    heads = 2 * 320 * (256 + 128) + 256 * 256 + 768 * 256
    assert round((size + heads + 12 * 9 * 768) / 1e6, 1) == 90.9
    assert round(size / 1e6, 1) == 90.3


def test_default_is_modest():
    assert round(_size(Wav2vecTransformer()) / 1e6, 1) == 3.4


@pytest.fixture(scope="module")
def variables():
    return jax.jit(functools.partial(TINY.init, train=False))(
        jax.random.key(0), jnp.zeros((2, 64, 3))
    )


def test_steps_are_the_whole(variables):
    signal = np.random.default_rng(0).normal(size=(2, 64, 3)).astype(np.float32)
    whole = TINY.apply(variables, signal, train=False)
    hidden = signal
    for step in ("features", "normalised", "enter", "context"):
        hidden = TINY.apply(variables, hidden, method=step)
    for one, other in zip(whole, hidden, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert whole[0].shape == (2, 16, 8)


def test_features_are_local_and_tokens_are_not(variables):
    signal = np.random.default_rng(0).normal(size=(1, 64, 3)).astype(np.float32)
    moved = signal.copy()
    moved[0, 32:36] = moved[
        0, [34, 35, 32, 33]
    ]  # pairs in another order: the first normalisation sees no difference
    features, others = (
        np.asarray(TINY.apply(variables, part, method="features")) for part in (signal, moved)
    )
    changed = np.abs(features - others).max((0, 2))
    assert changed[8] > 1e-3 and np.delete(changed, 8).max() < 1e-5
    tokens, other_tokens = (
        np.asarray(TINY.apply(variables, part, train=False)[0]) for part in (signal, moved)
    )
    assert np.abs(tokens - other_tokens).max((0, 2)).min() > 1e-7
