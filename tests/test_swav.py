"""SwAV: codes and loss against the formulas in float64, the queue, and the same step on eight devices."""

import dataclasses
import functools
import itertools

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
    first_step,
    initial,
    noise_batch,
)

from ecgjax.errors import InputError
from ecgjax.objectives.swav import Swav, sinkhorn, swapped_prediction
from ecgjax.preprocessing import Preprocessor

OBJECTIVE = Swav(
    prototypes=12, projection=(16, 8), augmentation=CROPS, small_crops=3, small_crop_s=0.5
)
BATCH = noise_batch(16)


def _unit(array):
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def _reference_codes(scores, epsilon, rounds):
    """Alternate scaling of the transport plan [prototype, row] to the marginals 1 / K and 1 / B, in float64."""
    plan = np.exp(scores.T / epsilon)
    plan /= plan.sum()
    for _ in range(rounds):
        for prototype in range(len(plan)):
            plan[prototype] /= plan[prototype].sum() * len(plan)
        for row in range(plan.shape[1]):
            plan[:, row] /= plan[:, row].sum() * plan.shape[1]
    return plan.T * plan.shape[1]


def test_codes_are_those_of_the_alternate_scaling():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(9, 4))
    found = jax.jit(functools.partial(sinkhorn, epsilon=0.05, rounds=3))(
        scores.astype(np.float32), np.ones(9, bool)
    )
    np.testing.assert_allclose(found, _reference_codes(scores, 0.05, 3), atol=1e-5)


def test_codes_stay_codes_however_hard_they_are():
    """One recording is at a prototype, the others are not near any: with such an epsilon their shares are below 1e-38
    of its."""
    scores = np.random.default_rng(0).uniform(-0.3, 0.3, size=(9, 4)).astype(np.float32)
    scores[0, 0] = 1
    found = jax.jit(functools.partial(sinkhorn, epsilon=0.005, rounds=3))(scores, np.ones(9, bool))
    np.testing.assert_allclose(
        found, _reference_codes(scores.astype(np.float64), 0.005, 3), atol=1e-4
    )
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_many_rounds_give_each_prototype_as_much():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(12, 4)).astype(np.float32)
    shares = sinkhorn(
        scores, np.ones(12, bool), epsilon=0.5, rounds=100
    )  # not compiled: it would be unrolled
    np.testing.assert_allclose(shares.sum(0), np.full(4, 3.0), rtol=1e-4)
    np.testing.assert_allclose(shares.sum(1), np.ones(12), rtol=1e-5)


def test_who_does_not_take_part_changes_nothing():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(9, 4)).astype(np.float32)
    code = jax.jit(functools.partial(sinkhorn, epsilon=0.05, rounds=3))
    with_others = code(scores, np.arange(9) < 6)
    np.testing.assert_allclose(with_others[:6], code(scores[:6], np.ones(6, bool)), atol=1e-6)
    assert (with_others[6:] == 0).all()


def _reference_loss(crops, prototypes, codes, temperature):
    """One pair of crops after the other, in float64."""
    terms = []
    for r, large, crop in itertools.product(range(len(crops)), range(2), range(crops.shape[1])):
        if large != crop:
            products = prototypes @ crops[r, crop] / temperature
            terms.append(-(codes[r, large] * (products - np.log(np.exp(products).sum()))).sum())
    return np.mean(terms)


def test_loss_and_gradient_are_those_of_the_loops():
    rng = np.random.default_rng(0)
    crops, prototypes, codes = (
        _unit(rng.normal(size=(3, 4, 5))),
        _unit(rng.normal(size=(6, 5))),
        rng.random((3, 2, 6)),
    )
    codes /= codes.sum(-1, keepdims=True)

    def loss(crops, prototypes):
        return swapped_prediction(crops, prototypes, codes.astype(np.float32), temperature=0.1)[0]

    given = crops.astype(np.float32), prototypes.astype(np.float32)
    found, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*given)
    np.testing.assert_allclose(found, _reference_loss(crops, prototypes, codes, 0.1), rtol=1e-5)
    for number, gradient in enumerate(gradients):
        expected = np.zeros_like(gradient, dtype=np.float64)
        for place in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                arrays = [crops.copy(), prototypes.copy()]
                arrays[number][place] += sign * 1e-6
                values.append(_reference_loss(*arrays, codes, 0.1))
            expected[place] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_eight_devices_take_the_step_of_one():
    objective = dataclasses.replace(OBJECTIVE, queue=24)
    one, eight = (
        first_step(objective, initial(objective), BATCH, devices=devices) for devices in (1, 8)
    )
    check_equal(one, eight)
    check_learns(one)
    assert 1 <= one[0]["prototypes_used"] <= 12
    assert np.abs(one[1]["prototypes"]).max() > 1e-4


def test_queue_takes_part_when_it_is_time_and_forgets_the_oldest():
    objective = dataclasses.replace(OBJECTIVE, queue=24, queue_from=0.5)
    variables = initial(objective)
    loss = jax.jit(
        functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    )

    def run(variables, progress):
        return loss(variables, {**BATCH, "progress": jnp.float32(progress)}, jax.random.key(0))

    empty, (_, updates) = run(variables, 0.9)
    projection = np.asarray(updates["queue"]["projection"])
    np.testing.assert_allclose(
        np.linalg.norm(projection, axis=-1), [[1, 1]] * 16 + [[0, 0]] * 8, rtol=1e-5
    )
    plain = functools.partial(OBJECTIVE.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    alone = jax.jit(plain)(
        {name: part for name, part in variables.items() if name != "queue"},
        BATCH,
        jax.random.key(0),
    )
    np.testing.assert_allclose(empty, alone[0], rtol=1e-6)
    waiting = _unit(np.random.default_rng(0).normal(size=(24, 2, 8))).astype(np.float32)
    full = {**variables, "queue": {"projection": waiting}}
    early, (_, updates) = run(full, 0.4)
    np.testing.assert_allclose(early, empty, rtol=1e-6)
    np.testing.assert_array_equal(updates["queue"]["projection"][16:], waiting[:8])
    assert abs(run(full, 0.5)[0] - early) > 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"prototypes": 1},
        {"queue": -1},
        {"queue_from": 3.0},
        {"small_crops": -1},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give a temperature, epsilon"):
        Swav(**wrong)
