"""Adversarial views: both errors against their formulas, the reversed gradient, and the ramp."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    CROPS,
    FOUR_LEADS,
    TINY_VIT,
    check_equal,
    check_learns,
    first_step,
    initial,
    lively,
    noise_batch,
)

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.adversarial import Adversarial, discrimination_error, reversed_gradient
from ecgjax.preprocessing import Preprocessor, band_pass

OBJECTIVE = Adversarial(
    projection=(8, 4),
    prediction=(6, 4),
    discriminator=(6,),
    enhanced=dataclasses.replace(CROPS, noise_mv=0.02),
    denoised=CROPS,
)
ON_EIGHT_DEVICES = TINY  # the others compile as long again
_RNG = np.random.default_rng(0)
PREDICTED, PROJECTED = _RNG.normal(size=(2, 5, 2, 3)).astype(np.float32)
VERDICT = _RNG.normal(size=(5, 2)).astype(np.float32)


def test_discrimination_error_and_gradient_equal_the_formula():
    value, gradient = jax.jit(jax.value_and_grad(discrimination_error))(jnp.asarray(VERDICT))
    chance = 1 / (1 + np.exp(-VERDICT.astype(np.float64)))
    np.testing.assert_allclose(
        value, -(np.log(chance[:, 0]) + np.log(1 - chance[:, 1])).mean() / 2, rtol=1e-5
    )
    np.testing.assert_allclose(gradient, (chance - [1.0, 0.0]) / chance.size, atol=1e-7)


def test_gradient_turns_round():
    value, gradient = jax.value_and_grad(
        lambda x: (reversed_gradient(x, jnp.float32(0.3)) ** 3).sum()
    )(jnp.ones(2) * 2)
    np.testing.assert_allclose(value, 16, rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.3 * 12] * 2, rtol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT], ids=["resnet", "vit"])
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(encoder):
    variables, batch = (
        lively(initial(OBJECTIVE, encoder, FOUR_LEADS)),
        noise_batch(8, views=(2,), patients=6),
    )
    one = first_step(OBJECTIVE, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    assert one[0]["reversal"] == 0 and one[0]["embedding_rank"] > 1
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                OBJECTIVE, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


def test_encoder_works_against_the_discriminator_more_and_more():
    """The game's part of the encoder's gradient: none at first, at the end all of what would help, turned round."""
    variables, batch = (
        lively(initial(OBJECTIVE, TINY_VIT, FOUR_LEADS)),
        jax.tree.map(jnp.asarray, noise_batch(4, views=(2,), patients=6)),
    )

    @jax.jit
    def gradient(progress):
        def game(params):
            with_game, without = (
                dataclasses.replace(OBJECTIVE, adversarial=weight).loss(
                    TINY_VIT,
                    {**variables, "params": params},
                    {**batch, "progress": progress},
                    jax.random.key(0),
                    preprocess=Preprocessor(FOUR_LEADS, 100.0),
                )[0]
                for weight in (1.0, 0.0)
            )
            return with_game - without

        return jax.grad(game)(variables["params"])

    start, half, end = (gradient(jnp.float32(progress)) for progress in (0.0, 0.1, 0.99))
    sizes = [
        float(jnp.abs(part["encoder"]["embed"]["kernel"]).max()) for part in (start, half, end)
    ]
    assert sizes[0] < 1e-6 < sizes[1] < sizes[2]
    np.testing.assert_allclose(sizes[1] / sizes[2], np.tanh(0.5) / np.tanh(4.95), rtol=1e-2)
    for part in (start, end):
        np.testing.assert_allclose(
            part["discriminator"]["layer2"]["kernel"],
            half["discriminator"]["layer2"]["kernel"],
            atol=1e-6,
        )


def test_band_pass_keeps_the_band_and_nothing_else():
    seconds = np.arange(1000)[:, None] / 100
    waves = np.concatenate(
        [np.sin(2 * np.pi * hz * seconds) for hz in (0.1, 0.7, 10.0, 40.0, 49.0)], axis=1
    )
    signal = np.stack([waves, 2.0 + waves]).astype(np.float32)
    found = np.asarray(
        jax.jit(lambda signal: band_pass(signal, (0.7, 40.0), rate_hz=100.0))(signal)
    )
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)  # no level
    size = np.sqrt(2 * np.square(found[0]).mean(0))
    np.testing.assert_allclose(size[[0, 2]], [5e-4, 1.0], atol=2e-2)
    np.testing.assert_allclose(size[[1, 3]], 0.5**0.5, atol=2e-2)
    assert size[4] < 0.45
    np.testing.assert_allclose(found[0, :, 2], waves[:, 2], atol=1e-2)  # no delay


@pytest.mark.parametrize(
    "wrong",
    [
        {"adversarial": -1.0},
        {"adversarial": float("nan")},
        {"band_hz": (40.0, 0.67)},
        {"prediction": (8, 5)},
        {"enhanced": Augmentation(crop_s=1.0)},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Adversarial(**wrong)
