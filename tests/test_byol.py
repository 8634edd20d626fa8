"""BYOL: its loss against the formula, its target's schedule, and that nothing but the online network learns."""

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
    check_equal,
    check_learns,
    distance,
    first_step,
    initial,
    noise_batch,
)

from ecgjax.errors import InputError
from ecgjax.objectives.byol import Byol, bootstrap, momentum_at
from ecgjax.preprocessing import Preprocessor

OBJECTIVE = Byol(projection=(16, 8), prediction=(12, 8), augmentation=CROPS)
BATCH = noise_batch(16)


def _reference(predicted, aim):
    """In float64, with p and t of unit length: the squared distances of both ways (arXiv:2006.07733, eq. 2)."""
    p, t = (array / np.linalg.norm(array, axis=-1, keepdims=True) for array in (predicted, aim))
    return np.mean(
        [((a[0] - b[1]) ** 2).sum() + ((a[1] - b[0]) ** 2).sum() for a, b in zip(p, t, strict=True)]
    )


def test_loss_and_gradient_are_those_of_the_formula():
    rng = np.random.default_rng(0)
    predicted, aim = rng.normal(size=(2, 5, 2, 4))
    found, (gradient, of_aim) = jax.jit(jax.value_and_grad(bootstrap, argnums=(0, 1)))(
        predicted.astype(np.float32), aim.astype(np.float32)
    )
    np.testing.assert_allclose(found, _reference(predicted, aim), rtol=1e-5)
    expected = np.zeros_like(predicted)
    for place in np.ndindex(predicted.shape):
        step = np.zeros_like(predicted)
        step[place] = 1e-6
        expected[place] = (
            _reference(predicted + step, aim) - _reference(predicted - step, aim)
        ) / 2e-6
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert (of_aim == 0).all()


def test_momentum_rises_from_its_first_value_to_one():
    """1 - (1 - 0.996) (cos(pi k / K) + 1) / 2, section 3.2."""
    found = [float(momentum_at(progress, first=0.996)) for progress in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(
        found, [0.996, 1 - 0.004 * (np.sqrt(0.5) + 1) / 2, 0.998, 1], rtol=1e-6
    )


@pytest.fixture(scope="module")
def steps():
    return [first_step(OBJECTIVE, initial(OBJECTIVE), BATCH, devices=devices) for devices in (1, 8)]


def test_eight_devices_take_the_step_of_one(steps):
    check_equal(*steps)
    check_learns(steps[0])
    assert set(steps[0][2]["slow"]["params"]) == {
        "encoder",
        "projector",
    }  # the target foretells nothing


@pytest.fixture(scope="module")
def in_parts():
    """The loss of half the batch at a time."""
    parts = dataclasses.replace(OBJECTIVE, microbatch=8)
    return jax.jit(functools.partial(parts.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0)))


def test_target_follows_the_online_network(in_parts):
    variables = initial(OBJECTIVE)
    moved = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])}
    _, (metrics, updates) = in_parts(
        moved, {**BATCH, "progress": jnp.float32(0.5)}, jax.random.key(0)
    )
    expected = jax.tree.map(lambda leaf: leaf + 0.002, variables["slow"]["params"])
    assert distance(updates["slow"]["params"], expected) < 1e-6
    assert -1 <= metrics["target_cosine"] <= 1


def test_parts_have_the_form_of_the_whole(in_parts, steps):
    """Each part draws views of its own, so the loss is near and not the same."""
    variables, batch = initial(OBJECTIVE), {**BATCH, "progress": jnp.float32(0)}
    loss, (metrics, updates) = in_parts(variables, batch, jax.random.key(0))
    assert {"loss", "gradient_norm", *metrics} == steps[0][0].keys()
    assert jax.tree.structure(updates) == jax.tree.structure(steps[0][2])
    assert 0 < loss < 8 and abs(loss - steps[0][0]["loss"]) < 1

    def of_params(params):
        return in_parts({**variables, "params": params}, batch, jax.random.key(0))[0]

    gradient = jax.eval_shape(
        jax.grad(of_params), variables["params"]
    )  # test_patient_contrast has its values
    assert jax.tree.structure(gradient) == jax.tree.structure(steps[0][1])


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
