"""The vision transformer: published sizes, patches, and masked tokens."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.vit1d import Vit1d, cut_patches

SMALL = Vit1d(width=8, layers=2, heads=2, patch=20)
LEADS = Vit1d(width=8, layers=1, heads=2, patch=50, lead_patches=True, separators=True)


@pytest.mark.parametrize(
    ("width", "heads", "published"), [(192, 4, 3_600_000), (384, 6, 14_277_888)]
)
def test_number_of_parameters_is_the_published_one(width, heads, published):
    """XS: 3,600,000 in its config. S: 14.3 M in its README; the same formula gives this number."""
    signal = jax.ShapeDtypeStruct((1, 5000, 12), jnp.float32)
    encoder = Vit1d(width=width, heads=heads)
    variables = jax.eval_shape(
        functools.partial(encoder.init, train=False), jax.random.key(0), signal
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == published


def test_patches_are_pieces_of_the_signal():
    signal = np.random.default_rng(0).normal(size=(2, 70, 3)).astype(np.float32)
    joint = np.asarray(cut_patches(signal, 20, per_lead=False))
    per_lead = np.asarray(cut_patches(signal, 20, per_lead=True))
    assert joint.shape == (2, 1, 4, 60) and per_lead.shape == (2, 3, 4, 20)
    np.testing.assert_array_equal(joint[1, 0, 2].reshape(20, 3), signal[1, 40:60])
    np.testing.assert_array_equal(per_lead[1, 2, 2], signal[1, 40:60, 2])
    np.testing.assert_array_equal(per_lead[:, :, 3, :10], signal[:, 60:].swapaxes(1, 2))
    assert not per_lead[:, :, 3, 10:].any()


@pytest.fixture(scope="module", params=[SMALL, LEADS], ids=["joint", "per lead"])
def encoder(request):
    signal = np.random.default_rng(1).normal(size=(3, 200, 4)).astype(np.float32)
    variables = jax.jit(functools.partial(request.param.init, train=False))(
        jax.random.key(0), signal
    )
    return request.param, variables, request.param.patches(signal)


@functools.partial(jax.jit, static_argnums=0)
def _encode(encoder, variables, *args):
    return encoder.apply(variables, *args, method="encode")


def _permutations(count):
    """Random orders of `count` patches, one per recording."""
    return jnp.stack([jax.random.permutation(jax.random.key(row), count) for row in range(3)])


def test_masked_patches_have_no_influence(encoder):
    module, variables, patches = encoder
    count = patches.shape[1] * patches.shape[2]
    visible = _permutations(count)[:, :3]
    tokens, embedding = _encode(module, variables, patches, visible)
    changed = np.asarray(patches).reshape(3, count, -1).copy()
    masked = np.ones((3, count), bool)
    np.put_along_axis(masked, np.asarray(visible), False, axis=1)
    changed[masked] = 7.0
    changed = changed.reshape(patches.shape)
    same_tokens, same_embedding = _encode(module, variables, changed, visible)
    np.testing.assert_array_equal(same_tokens, tokens)
    np.testing.assert_array_equal(same_embedding, embedding)
    # atol: the mean is of terms near 1, which may cancel.
    np.testing.assert_allclose(embedding, tokens.mean(1), rtol=1e-6, atol=1e-7)


def test_visible_patches_keep_their_positions(encoder):
    """All patches in another order have the same tokens; equal patches have different tokens."""
    module, variables, patches = encoder
    order = _permutations(patches.shape[1] * patches.shape[2])
    all_tokens, _ = _encode(module, variables, patches)
    tokens, _ = _encode(module, variables, patches, order)
    expected = jnp.take_along_axis(all_tokens, order[..., None], axis=1)
    np.testing.assert_allclose(tokens, expected, atol=1e-5)
    equal = jnp.broadcast_to(patches[:, :1, :1], patches.shape)
    assert np.ptp(_encode(module, variables, equal)[0], axis=1).min() > 1e-3


def test_patches_that_are_not_valid_have_no_influence(encoder):
    module, variables, patches = encoder
    tokens, embedding = _encode(module, variables, patches, jnp.array([[0, 2]] * 3))
    padded = jnp.array([[0, 2, 1, 3]] * 3)
    valid = jnp.array([[True, True, False, False]] * 3)
    padded_tokens, same_embedding = _encode(module, variables, patches, padded, valid)
    np.testing.assert_allclose(padded_tokens[:, :2], tokens, atol=1e-5)
    np.testing.assert_allclose(same_embedding, embedding, atol=1e-5)


def test_bfloat16_is_close_to_float32(encoder):
    module, variables, patches = encoder
    _, full = _encode(module, variables, patches)
    _, half = _encode(module.clone(dtype="bfloat16"), variables, patches)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.05)
    assert not np.array_equal(half, full)
