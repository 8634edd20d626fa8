"""BYOL: its loss against the formula, the EMA of its target, and its gradient."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    CROPS,
    TWO_SECONDS,
    check_learns,
    check_same_step,
    distance,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.errors import InputError
from ecgjax.objectives.byol import Byol, byol_loss, ema_decay_at
from ecgjax.preprocessing import Preprocessor

OBJECTIVE = Byol(projection=(16, 8), prediction=(12, 8), augmentation=CROPS)
BATCH = noise_batch(16)


def _unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def _reference(predicted, target):
    """Squared distances of unit vectors, both directions, in float64 (arXiv:2006.07733, eq. 2)."""
    return np.mean(
        [
            ((p[0] - t[1]) ** 2).sum() + ((p[1] - t[0]) ** 2).sum()
            for p, t in zip(_unit(predicted), _unit(target), strict=True)
        ]
    )


def test_loss_and_gradient_equal_the_formula():
    predicted, target = np.random.default_rng(0).normal(size=(2, 5, 2, 4))
    loss, (gradient, target_gradient) = jax.jit(jax.value_and_grad(byol_loss, argnums=(0, 1)))(
        predicted.astype(np.float32), target.astype(np.float32)
    )
    np.testing.assert_allclose(loss, _reference(predicted, target), rtol=1e-5)
    expected = numeric_gradient(lambda predicted: _reference(predicted, target), predicted)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert (target_gradient == 0).all()


def test_ema_decay_rises_on_a_cosine_schedule():
    """1 - (1 - 0.996) (cos(pi k / K) + 1) / 2, section 3.2."""
    decays = [float(ema_decay_at(progress, initial=0.996)) for progress in (0, 0.25, 0.5, 1)]
    expected = [0.996, 1 - 0.004 * (np.sqrt(0.5) + 1) / 2, 0.998, 1]
    np.testing.assert_allclose(decays, expected, rtol=1e-6)


@pytest.fixture(scope="module")
def steps():
    """One step on one device, and on eight."""
    variables = init_variables(OBJECTIVE)
    return [first_step(OBJECTIVE, variables, BATCH, devices=devices) for devices in (1, 8)]


def test_eight_devices_take_the_step_of_one(steps):
    check_same_step(*steps)
    check_learns(steps[0])
    _, _, collections = steps[0]
    assert set(collections["slow"]["params"]) == {"encoder", "projector"}  # no predictor


@pytest.fixture(scope="module")
def microbatch_loss():
    """The loss in microbatches of half the batch."""
    objective = dataclasses.replace(OBJECTIVE, microbatch=8)
    return jax.jit(
        functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    )


def test_target_is_the_ema_of_the_online_network(microbatch_loss):
    variables = init_variables(OBJECTIVE)
    moved = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])}
    _, (metrics, updates) = microbatch_loss(
        moved, {**BATCH, "progress": jnp.float32(0.5)}, jax.random.key(0)
    )
    expected = jax.tree.map(lambda leaf: leaf + 0.002, variables["slow"]["params"])
    assert distance(updates["slow"]["params"], expected) < 1e-6
    assert -1 <= metrics["target_cosine"] <= 1


def test_microbatches_have_the_outputs_of_the_whole_batch(microbatch_loss, steps):
    """Each microbatch draws its own views, so the losses are close but not equal."""
    variables = init_variables(OBJECTIVE)
    batch = {**BATCH, "progress": jnp.float32(0)}
    step_metrics, step_gradient, collections = steps[0]
    loss, (metrics, updates) = microbatch_loss(variables, batch, jax.random.key(0))
    assert {"loss", "gradient_norm", "finite", *metrics} == step_metrics.keys()
    assert jax.tree.structure(updates) == jax.tree.structure(collections)
    assert 0 < loss < 8
    assert abs(loss - step_metrics["loss"]) < 1

    def params_loss(params):
        return microbatch_loss({**variables, "params": params}, batch, jax.random.key(0))[0]

    # test_patient_contrast compares the values of such a gradient.
    gradient = jax.eval_shape(jax.grad(params_loss), variables["params"])
    assert jax.tree.structure(gradient) == jax.tree.structure(step_gradient)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"momentum": 1.0}, "momentum 1.0: give one from 0"),
        ({"prediction": (8, 4)}, "give both the same last width"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Byol(**wrong)
