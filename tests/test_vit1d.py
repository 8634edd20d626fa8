"""The vision transformer: published sizes, patches that are where they should be, and tokens that are not seen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.vit1d import Vit1d, patches

SMALL = Vit1d(width=8, layers=2, heads=2, patch=20)
LEADS = Vit1d(width=8, layers=1, heads=2, patch=50, lead_patches=True, separators=True)


@pytest.mark.parametrize(
    ("width", "heads", "published"), [(192, 4, 3_600_000), (384, 6, 14_277_888)]
)
def test_parameters_are_as_many_as_published(width, heads, published):
    """XS: 3,600,000 by its config; S: 14.3 M by its README, and as many as the same formula gives for its width."""
    signal = jax.ShapeDtypeStruct((1, 5000, 12), jnp.float32)
    encoder = Vit1d(width=width, heads=heads)
    variables = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), signal
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == published


def test_patches_are_pieces_of_the_signal():
    signal = np.random.default_rng(0).normal(size=(2, 70, 3)).astype(np.float32)
    whole, by_lead = (np.asarray(patches(signal, 20, by_lead=by_lead)) for by_lead in (False, True))
    assert whole.shape == (2, 1, 4, 60) and by_lead.shape == (2, 3, 4, 20)
    np.testing.assert_array_equal(whole[1, 0, 2].reshape(20, 3), signal[1, 40:60])
    np.testing.assert_array_equal(by_lead[1, 2, 2], signal[1, 40:60, 2])
    np.testing.assert_array_equal(by_lead[:, :, 3, :10], signal[:, 60:].swapaxes(1, 2))
    assert not by_lead[:, :, 3, 10:].any()


@pytest.fixture(scope="module", params=[SMALL, LEADS], ids=["whole", "leads"])
def encoder(request):
    signal = np.random.default_rng(1).normal(size=(3, 200, 4)).astype(np.float32)
    variables = jax.jit(functools.partial(request.param.init, train=False))(
        jax.random.key(0), signal
    )
    return request.param, variables, request.param.patches(signal)


@functools.partial(jax.jit, static_argnums=0)
def _encode(encoder, variables, *args):
    return encoder.apply(variables, *args, method="encode")


def test_hidden_patches_are_not_seen(encoder):
    module, variables, cut = encoder
    count = cut.shape[1] * cut.shape[2]
    kept = jnp.stack([jax.random.permutation(jax.random.key(row), count)[:3] for row in range(3)])
    tokens, embedding = _encode(module, variables, cut, kept)
    flat = np.asarray(cut).reshape(3, count, -1).copy()
    hidden = np.ones((3, count), bool)
    np.put_along_axis(hidden, np.asarray(kept), False, axis=1)
    flat[hidden] = 7.0
    same_tokens, same_embedding = _encode(module, variables, flat.reshape(cut.shape), kept)
    np.testing.assert_array_equal(same_tokens, tokens)
    np.testing.assert_array_equal(same_embedding, embedding)
    np.testing.assert_allclose(
        embedding, tokens.mean(1), rtol=1e-6, atol=1e-7
    )  # of terms near 1, which may cancel


def test_kept_patches_keep_their_places(encoder):
    """All of them in another order give the same tokens in that order; without their places they could not."""
    module, variables, cut = encoder
    count = cut.shape[1] * cut.shape[2]
    order = jnp.stack([jax.random.permutation(jax.random.key(row), count) for row in range(3)])
    whole, _ = _encode(module, variables, cut)
    tokens, _ = _encode(module, variables, cut, order)
    np.testing.assert_allclose(
        tokens, jnp.take_along_axis(whole, order[..., None], axis=1), atol=1e-5
    )
    alike = jnp.broadcast_to(cut[:, :1, :1], cut.shape)
    assert np.ptp(_encode(module, variables, alike)[0], axis=1).min() > 1e-3


def test_what_is_not_valid_counts_for_nothing(encoder):
    module, variables, cut = encoder
    few, more = jnp.array([[0, 2]] * 3), jnp.array([[0, 2, 1, 3]] * 3)
    valid = jnp.array([[True, True, False, False]] * 3)
    (tokens, embedding), (longer, same) = (
        _encode(module, variables, cut, few),
        _encode(module, variables, cut, more, valid),
    )
    np.testing.assert_allclose(longer[:, :2], tokens, atol=1e-5)
    np.testing.assert_allclose(same, embedding, atol=1e-5)


def test_bfloat16_is_near_float32(encoder):
    module, variables, cut = encoder
    full, half = (
        _encode(module.clone(dtype=dtype), variables, cut)[1] for dtype in ("float32", "bfloat16")
    )
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.05)
    assert not np.array_equal(half, full)
