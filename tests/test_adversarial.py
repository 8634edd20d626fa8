"""Adversarial views: both losses against their formulas, gradient reversal, and its ramp."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    CROPS,
    FOUR_LEADS,
    TINY_VIT,
    check_step,
    init_variables,
    noise_batch,
    numeric_gradient,
    perturb_params,
)

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.adversarial import Adversarial, discriminator_loss, reverse_gradient
from ecgjax.objectives.parts import clean_statistics as clean_module
from ecgjax.objectives.parts.clean_statistics import clean_statistics
from ecgjax.objectives.parts.spread import SpreadWeights, spread_terms
from ecgjax.preprocessing import Preprocessor, band_pass

OBJECTIVE = Adversarial(
    projection=(8, 4),
    prediction=(6, 4),
    discriminator=(6,),
    enhanced=dataclasses.replace(CROPS, noise_mv=0.02),
    denoised=CROPS,
)
LOGITS = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)


def test_discriminator_loss_and_gradient_equal_the_formula():
    value, gradient = jax.jit(jax.value_and_grad(discriminator_loss))(jnp.asarray(LOGITS))
    probability = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    expected = -(np.log(probability[:, 0]) + np.log(1 - probability[:, 1])).mean() / 2
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, (probability - [1.0, 0.0]) / probability.size, atol=1e-7)


def test_the_gradient_is_reversed_and_scaled():
    value, gradient = jax.value_and_grad(
        lambda x: (reverse_gradient(x, jnp.float32(0.3)) ** 3).sum()
    )(jnp.ones(2) * 2)
    np.testing.assert_allclose(value, 16, rtol=1e-6)
    np.testing.assert_allclose(gradient, [-0.3 * 12] * 2, rtol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT], ids=["resnet", "vit"])
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(encoder, monkeypatch):
    monkeypatch.setattr(clean_module, "LAST_SHARE", 1.0)  # in the first step, too
    metrics, _, _ = check_step(
        OBJECTIVE,
        noise_batch(8, views=(2,), patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is TINY,
    )
    assert metrics["reversal"] == 0


def test_the_adversarial_gradient_of_the_encoder_grows_with_progress():
    """It is 0 at first, and at the end the whole gradient of the discriminator loss, reversed."""
    variables = perturb_params(init_variables(OBJECTIVE, TINY_VIT, FOUR_LEADS))
    batch = jax.tree.map(jnp.asarray, noise_batch(4, views=(2,), patients=6))

    def loss(params, progress, weight):
        objective = dataclasses.replace(OBJECTIVE, adversarial=weight)
        return objective.loss(
            TINY_VIT,
            {**variables, "params": params},
            {**batch, "progress": progress},
            jax.random.key(0),
            preprocess=Preprocessor(FOUR_LEADS, 100.0),
        )[0]

    def adversarial_part(params, progress):
        return loss(params, progress, 1.0) - loss(params, progress, 0.0)

    gradient = jax.jit(jax.grad(adversarial_part))
    parts = [gradient(variables["params"], jnp.float32(part)) for part in (0.0, 0.1, 0.99)]
    sizes = [float(jnp.abs(part["encoder"]["embed"]["kernel"]).max()) for part in parts]
    assert sizes[0] < 1e-6 < sizes[1] < sizes[2]
    np.testing.assert_allclose(sizes[1] / sizes[2], np.tanh(0.5) / np.tanh(4.95), rtol=1e-2)
    start, ramp, end = (part["discriminator"]["layer2"]["kernel"] for part in parts)
    np.testing.assert_allclose(start, ramp, atol=1e-6)
    np.testing.assert_allclose(end, ramp, atol=1e-6)


def test_spread_terms_equal_the_formulas():
    """Eq. 1 and 4 of VICReg in float64, and the gradient of their sum."""
    views = np.random.default_rng(1).normal(0, 0.6, size=(2, 7, 3))

    def reference(views):
        terms = []
        for view in views:
            covariance = np.cov(view.T)
            shortfall = np.maximum(1 - np.sqrt(np.diag(covariance) + 1e-4), 0).mean()
            different = covariance - np.diag(np.diag(covariance))
            terms.append((shortfall, (different**2).sum() / 3))
        return np.mean(terms, axis=0)

    weights = SpreadWeights(variance=2.0, covariance=0.5)
    given = views.astype(np.float32)
    terms = spread_terms(*given)
    found = [terms["variance"], terms["covariance"]]
    np.testing.assert_allclose(found, reference(views), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda views: weights.total(spread_terms(*views))))(given)
    expected = numeric_gradient(lambda moved: reference(moved) @ [2.0, 0.5], views)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    collapsed = spread_terms(0 * given[0])
    assert collapsed["variance"] > 0.98
    alone = jax.grad(lambda views: weights.total(spread_terms(views)))(given[0][:1])
    np.testing.assert_array_equal(alone, 0)  # one recording has no spread


def test_clean_recordings_set_the_batch_statistics_at_the_end():
    """From progress 0.9 on they are those of whole recordings; the head's stay those of views."""
    variables = init_variables(OBJECTIVE, TINY, FOUR_LEADS)
    batch = noise_batch(8, views=(2,), patients=6)
    batch["signal"] = jnp.asarray(batch["signal"])
    preprocess = Preprocessor(FOUR_LEADS, 100.0)
    updates = {"batch_stats": {"encoder": variables["batch_stats"]["encoder"], "projector": 1.0}}

    @jax.jit
    def replaced(progress):
        timed = {**batch, "progress": progress}
        return clean_statistics(TINY, variables, timed, preprocess=preprocess, updates=updates)

    early = replaced(0.89)
    jax.tree.map(np.testing.assert_array_equal, early, updates)
    late = replaced(0.9)["batch_stats"]
    assert late["projector"] == 1.0
    signal = preprocess(batch["signal"].reshape(-1, 200, 12))
    own = {name: variables[name]["encoder"] for name in ("params", "batch_stats")}
    _, expected = TINY.apply(own, signal, train=True, mutable=["batch_stats"])
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        late["encoder"],
        dict(expected["batch_stats"]),
    )


def test_band_pass_removes_all_outside_the_band():
    seconds = np.arange(1000)[:, None] / 100
    waves = np.concatenate(
        [np.sin(2 * np.pi * hz * seconds) for hz in (0.1, 0.7, 10.0, 40.0, 49.0)], axis=1
    )
    signal = np.stack([waves, 2.0 + waves]).astype(np.float32)
    filtered = np.asarray(
        jax.jit(lambda signal: band_pass(signal, (0.7, 40.0), rate_hz=100.0))(signal)
    )
    np.testing.assert_allclose(filtered[0], filtered[1], atol=1e-5)  # the mean level is removed
    amplitude = np.sqrt(2 * np.square(filtered[0]).mean(0))
    np.testing.assert_allclose(amplitude[[0, 2]], [5e-4, 1.0], atol=2e-2)
    np.testing.assert_allclose(amplitude[[1, 3]], 0.5**0.5, atol=2e-2)
    assert amplitude[4] < 0.45
    np.testing.assert_allclose(filtered[0, :, 2], waves[:, 2], atol=1e-2)  # there is no delay


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
