"""The masked autoencoder: its error against the paper's, what is hidden, and that what is hidden is not seen."""

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
    check_equal,
    check_learns,
    first_step,
    initial,
    lively,
    noise_batch,
)

from ecgjax.errors import InputError
from ecgjax.objectives.masked_autoencoder import (
    MaskedAutoencoder,
    _Autoencoder,
    hidden_error,
    normalised,
)

OBJECTIVE = MaskedAutoencoder(decoder_width=8, decoder_layers=1, decoder_heads=2, span_samples=20)
LEAD_WISE = MaskedAutoencoder(
    decoder_width=8,
    decoder_layers=1,
    decoder_heads=2,
    lead_wise=True,
    normalised_targets=True,
    span_samples=20,
)
ON_EIGHT_DEVICES = TINY  # the others compile as long again
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)
HIDDEN = _RNG.random((3, 2, 4)) < 0.6


def _reference(predicted, target, hidden, per_patch):
    """The mean over hidden patches of a patch's mean squared error, and its gradient, in float64."""
    total, gradient = 0.0, np.zeros(predicted.shape)
    for place in zip(*np.nonzero(hidden), strict=True):
        true = target[place].astype(np.float64)
        if per_patch:
            true = (true - true.mean()) / np.sqrt(true.var() + 1e-6)
        difference = predicted[place].astype(np.float64) - true
        total += (difference**2).mean() / hidden.sum()
        gradient[place] = 2 * difference / difference.size / hidden.sum()
    return total, gradient


@pytest.mark.parametrize("per_patch", [False, True])
def test_error_and_gradient_equal_a_plain_loop(per_patch):
    def error(predicted):
        return hidden_error(
            predicted, normalised(TARGET) if per_patch else jnp.asarray(TARGET), HIDDEN
        )

    value, gradient = jax.jit(jax.value_and_grad(error))(PREDICTED)
    expected, expected_gradient = _reference(PREDICTED, TARGET, HIDDEN, per_patch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "encoder"),
    [(OBJECTIVE, TINY), (OBJECTIVE, TINY_VIT), (LEAD_WISE, TINY_LEAD_VIT)],
    ids=["resnet", "vit", "st_mem"],
)
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(objective, encoder):
    variables, batch = lively(initial(objective, encoder, FOUR_LEADS)), noise_batch(8, patients=6)
    one = first_step(objective, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    assert one[0]["embedding_rank"] > 1 and one[0]["explained_variance"] < 1
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                objective, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


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
def test_prediction_depends_on_what_is_kept_alone(objective, encoder, shape):
    variables = initial(objective, encoder, FOUR_LEADS)
    network = _Autoencoder(encoder, objective)
    signal = np.random.default_rng(2).normal(size=(8, FOUR_LEADS.samples, 4)).astype(np.float32)
    # Not as when training: batch statistics would see all.
    compiled = jax.jit(functools.partial(network.apply, train=False))
    draw = functools.partial(compiled, variables, key=jax.random.key(5))
    predicted, target, hidden = map(np.asarray, draw(signal))
    assert hidden.shape == shape and target.shape[:3] == shape
    if objective.lead_wise:
        assert (hidden.sum(-1) == shape[2] - int(shape[2] * 0.25)).all()
    else:
        assert (hidden.sum((1, 2)) == shape[1] * shape[2] * 3 // 4).all()
    by_sample = np.repeat(hidden, FOUR_LEADS.samples // shape[2], axis=2).swapaxes(1, 2)
    elsewhere = np.where(by_sample, 9.0, signal).astype(np.float32)
    np.testing.assert_allclose(draw(elsewhere)[0], predicted, atol=1e-6)
    seen = np.where(by_sample, signal, signal + 1.0).astype(np.float32)
    assert np.abs(draw(seen)[0] - predicted).max() > 1e-6


def test_leads_are_decoded_by_themselves_when_lead_wise():
    """Nothing of one lead's tokens reaches what is drawn of another by the decoder."""
    from ecgjax.objectives.parts.token_decoder import TokenDecoder

    tokens = np.random.default_rng(3).normal(size=(2, 6, 5)).astype(np.float32)
    kept = jnp.array([[0, 2, 5, 6, 8, 10]] * 2)  # three of each row of six
    moved = tokens.copy()
    moved[:, 3:] += np.random.default_rng(4).normal(size=(2, 3, 5))
    whole, rows = (
        TokenDecoder(8, 1, 2, 3, by_row) for by_row in (False, True)
    )  # of the same parameters
    variables = jax.jit(whole.init, static_argnums=(2, 3))(jax.random.key(0), tokens, 2, 6, kept)
    for by_row, decoder in enumerate((whole, rows)):
        draw = jax.jit(decoder.apply, static_argnums=(2, 3))
        first, second = (draw(variables, part, 2, 6, kept) for part in (tokens, moved))
        assert (np.abs(first[:, 0] - second[:, 0]).max() < 1e-6) == by_row
        assert np.abs(first[:, 1] - second[:, 1]).max() > 1e-6


def test_what_is_hidden_depends_on_the_key():
    network, signal = _Autoencoder(TINY_VIT, OBJECTIVE), jnp.ones((4, 200, 4))
    variables = initial(OBJECTIVE, TINY_VIT, FOUR_LEADS)
    draw = jax.jit(functools.partial(network.apply, train=True))
    first, again, other = (
        np.asarray(draw(variables, signal, key=jax.random.key(seed))[2]) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("wrong", [{"hidden": 0.0}, {"hidden": 1.0}, {"span_samples": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(
        InputError, match="give a hidden share between 0 and 1 and a span of 1 or more"
    ):
        MaskedAutoencoder(**wrong)
    with pytest.raises(
        InputError, match="decoder: width 256, layers -3, heads 4: give a layer or more"
    ):
        MaskedAutoencoder(decoder_layers=-3)
