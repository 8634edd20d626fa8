"""Masked autoencoder: its loss against the formula, its masks, and that masked patches are not
seen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    FOUR_LEADS,
    TINY_LEAD_VIT,
    TINY_VIT,
    check_step,
    init_variables,
    noise_batch,
)

from ecgjax.errors import InputError
from ecgjax.objectives.masked_autoencoder import (
    MaskedAutoencoder,
    MaskedAutoencoderNetwork,
    reconstruction_error,
)
from ecgjax.objectives.parts.token_decoder import TokenDecoder
from ecgjax.preprocessing import Preprocessor

OBJECTIVE = MaskedAutoencoder(decoder_width=8, decoder_layers=1, decoder_heads=2, span_samples=20)
LEAD_WISE = MaskedAutoencoder(
    decoder_width=8,
    decoder_layers=1,
    decoder_heads=2,
    lead_wise=True,
    normalised_targets=True,
    span_samples=20,
)
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)
MASK = _RNG.random((3, 2, 4)) < 0.6


def _reference(predicted, target, mask):
    """Mean over masked patches of a patch's mean squared error, and its gradient, in float64."""
    total = 0.0
    gradient = np.zeros(predicted.shape)
    for place in zip(*np.nonzero(mask), strict=True):
        difference = predicted[place].astype(np.float64) - target[place].astype(np.float64)
        total += (difference**2).mean() / mask.sum()
        gradient[place] = 2 * difference / difference.size / mask.sum()
    return total, gradient


def test_error_and_gradient_equal_a_plain_loop():
    error = jax.value_and_grad(
        lambda predicted: reconstruction_error(predicted, jnp.asarray(TARGET), MASK)
    )
    value, gradient = jax.jit(error)(PREDICTED)
    expected, expected_gradient = _reference(PREDICTED, TARGET, MASK)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "encoder"),
    [(OBJECTIVE, TINY), (OBJECTIVE, TINY_VIT), (LEAD_WISE, TINY_LEAD_VIT)],
    ids=["resnet", "vit", "st_mem"],
)
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(objective, encoder):
    metrics, _, _ = check_step(
        objective,
        noise_batch(8, patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is TINY,
    )
    assert metrics["explained_variance"] < 1


@pytest.mark.parametrize(
    ("objective", "encoder", "shape"),
    [
        (OBJECTIVE, TINY, (8, 4, 10)),
        (OBJECTIVE, TINY_VIT, (8, 1, 20)),
        (OBJECTIVE, TINY_LEAD_VIT, (8, 4, 10)),
        (LEAD_WISE, TINY_LEAD_VIT, (8, 4, 10)),
        (LEAD_WISE, TINY, (8, 4, 10)),
    ],
)
def test_the_prediction_depends_on_visible_patches_only(objective, encoder, shape):
    variables = init_variables(objective, encoder, FOUR_LEADS)
    network = MaskedAutoencoderNetwork(encoder, objective)
    signal = np.random.default_rng(2).normal(size=(8, FOUR_LEADS.samples, 4)).astype(np.float32)
    # train=False, because batch statistics would depend on all patches.
    compiled = jax.jit(functools.partial(network.apply, train=False))
    reconstruct = functools.partial(compiled, variables, key=jax.random.key(5))
    predicted, target, mask = map(np.asarray, reconstruct(signal))
    assert mask.shape == shape
    assert target.shape[:3] == shape
    if objective.lead_wise:
        assert (mask.sum(-1) == shape[2] - int(shape[2] * 0.25)).all()
    else:
        assert (mask.sum((1, 2)) == shape[1] * shape[2] * 3 // 4).all()
    sample_mask = np.repeat(mask, FOUR_LEADS.samples // shape[2], axis=2).swapaxes(1, 2)
    masked_changed = np.where(sample_mask, 9.0, signal).astype(np.float32)
    np.testing.assert_allclose(reconstruct(masked_changed)[0], predicted, atol=1e-6)
    visible_changed = np.where(sample_mask, signal, signal + 1.0).astype(np.float32)
    assert np.abs(reconstruct(visible_changed)[0] - predicted).max() > 1e-6


@pytest.mark.parametrize("normalised", [False, True])
def test_the_loss_is_the_error_of_the_network_on_its_targets(normalised):
    """With `normalised_targets` each target patch has mean 0 and variance 1."""
    objective = dataclasses.replace(LEAD_WISE, normalised_targets=normalised)
    variables = init_variables(objective, TINY_LEAD_VIT, FOUR_LEADS)
    batch = noise_batch(8)
    key = jax.random.key(5)
    preprocess = Preprocessor(FOUR_LEADS, 100.0)
    loss, _ = jax.jit(functools.partial(objective.loss, TINY_LEAD_VIT, preprocess=preprocess))(
        variables, batch, key
    )
    network = MaskedAutoencoderNetwork(TINY_LEAD_VIT, objective)
    reconstruct = jax.jit(functools.partial(network.apply, train=True))
    predicted, target, mask = map(
        np.asarray, reconstruct(variables, preprocess(batch["signal"]), key)
    )
    if normalised:
        target = target.astype(np.float64)
        variance = target.var(-1, keepdims=True)
        target = (target - target.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
    np.testing.assert_allclose(loss, _reference(predicted, target, mask)[0], rtol=1e-4)


@pytest.mark.parametrize("row_wise", [False, True])
def test_a_row_wise_decoder_reconstructs_each_lead_from_its_own_tokens(row_wise):
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(2, 6, 5)).astype(np.float32)
    visible = jnp.array([[0, 2, 5, 6, 8, 10]] * 2)  # three in each of two rows of six
    moved = tokens.copy()
    moved[:, 3:] += rng.normal(size=(2, 3, 5))
    init = jax.jit(TokenDecoder(8, 1, 2, 3).init, static_argnums=(2, 3))
    variables = init(jax.random.key(0), tokens, 2, 6, visible)
    decode = jax.jit(TokenDecoder(8, 1, 2, 3, row_wise).apply, static_argnums=(2, 3))
    change = np.abs(
        decode(variables, tokens, 2, 6, visible) - decode(variables, moved, 2, 6, visible)
    )
    assert (change[:, 0].max() < 1e-6) == row_wise
    assert change[:, 1].max() > 1e-6


def test_the_mask_depends_on_the_key():
    network = MaskedAutoencoderNetwork(TINY_VIT, OBJECTIVE)
    signal = jnp.ones((4, 200, 4))
    variables = init_variables(OBJECTIVE, TINY_VIT, FOUR_LEADS)
    compiled = jax.jit(functools.partial(network.apply, train=True))

    def draw(seed):
        return np.asarray(compiled(variables, signal, key=jax.random.key(seed))[2])

    mask = draw(0)
    assert np.array_equal(mask, draw(0))
    assert not np.array_equal(mask, draw(1))
    assert not np.array_equal(mask[0], mask[1])


@pytest.mark.parametrize("wrong", [{"hidden": 0.0}, {"hidden": 1.0}, {"span_samples": 0}])
def test_impossible_settings_are_refused(wrong):
    message = "give a masked share between 0 and 1 and a span of 1 or more"
    with pytest.raises(InputError, match=message):
        MaskedAutoencoder(**wrong)


def test_an_impossible_decoder_is_refused():
    with pytest.raises(InputError, match="decoder: width 256, layers -3, heads 4: give"):
        MaskedAutoencoder(decoder_layers=-3)
