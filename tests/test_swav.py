"""SwAV: codes and loss against the formulas in float64, the queue, and one step on eight
devices."""

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
    check_learns,
    check_same_step,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
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
    """Sinkhorn-Knopp in float64: scales the plan [prototype, row] to the marginals 1 / K and 1 /
    B."""
    plan = np.exp(scores.T / epsilon)
    plan /= plan.sum()
    for _ in range(rounds):
        for prototype in range(len(plan)):
            plan[prototype] /= plan[prototype].sum() * len(plan)
        for row in range(plan.shape[1]):
            plan[:, row] /= plan[:, row].sum() * plan.shape[1]
    return plan.T * plan.shape[1]


def test_codes_equal_those_of_the_plain_algorithm():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(9, 4))
    codes = jax.jit(functools.partial(sinkhorn, epsilon=0.05, rounds=3))(
        scores.astype(np.float32), np.ones(9, bool)
    )
    np.testing.assert_allclose(codes, _reference_codes(scores, 0.05, 3), atol=1e-5)


def test_codes_sum_to_one_with_a_small_epsilon():
    """One recording equals a prototype and all others are far from it: relative to its code, theirs
    are below 1e-38."""
    scores = np.random.default_rng(0).uniform(-0.3, 0.3, size=(9, 4)).astype(np.float32)
    scores[0, 0] = 1
    codes = jax.jit(functools.partial(sinkhorn, epsilon=0.005, rounds=3))(scores, np.ones(9, bool))
    expected = _reference_codes(scores.astype(np.float64), 0.005, 3)
    np.testing.assert_allclose(codes, expected, atol=1e-4)
    np.testing.assert_allclose(codes.sum(1), 1, rtol=1e-5)


def test_after_many_rounds_all_prototypes_are_used_equally():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(12, 4)).astype(np.float32)
    # Not compiled: the loop over rounds would be unrolled.
    codes = sinkhorn(scores, np.ones(12, bool), epsilon=0.5, rounds=100)
    np.testing.assert_allclose(codes.sum(0), np.full(4, 3.0), rtol=1e-4)
    np.testing.assert_allclose(codes.sum(1), np.ones(12), rtol=1e-5)


def test_unused_rows_do_not_change_the_codes():
    scores = np.random.default_rng(0).uniform(-1, 1, size=(9, 4)).astype(np.float32)
    assign = jax.jit(functools.partial(sinkhorn, epsilon=0.05, rounds=3))
    codes = assign(scores, np.arange(9) < 6)
    np.testing.assert_allclose(codes[:6], assign(scores[:6], np.ones(6, bool)), atol=1e-6)
    assert (codes[6:] == 0).all()


def _reference_loss(crops, prototypes, codes, temperature):
    """The loss in float64, one pair of crops after the other."""
    terms = []
    for r, large, crop in itertools.product(range(len(crops)), range(2), range(crops.shape[1])):
        if large != crop:
            products = prototypes @ crops[r, crop] / temperature
            terms.append(-(codes[r, large] * (products - np.log(np.exp(products).sum()))).sum())
    return np.mean(terms)


def test_loss_and_gradient_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    crops = _unit(rng.normal(size=(3, 4, 5)))
    prototypes = _unit(rng.normal(size=(6, 5)))
    codes = rng.random((3, 2, 6))
    codes /= codes.sum(-1, keepdims=True)

    def loss(crops, prototypes):
        return swapped_prediction(crops, prototypes, codes.astype(np.float32), temperature=0.1)[0]

    value, (crop_gradient, prototype_gradient) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        crops.astype(np.float32), prototypes.astype(np.float32)
    )
    np.testing.assert_allclose(value, _reference_loss(crops, prototypes, codes, 0.1), rtol=1e-5)
    expected = numeric_gradient(lambda crops: _reference_loss(crops, prototypes, codes, 0.1), crops)
    np.testing.assert_allclose(crop_gradient, expected, atol=2e-5)
    expected = numeric_gradient(
        lambda prototypes: _reference_loss(crops, prototypes, codes, 0.1), prototypes
    )
    np.testing.assert_allclose(prototype_gradient, expected, atol=2e-5)


def test_eight_devices_take_the_step_of_one():
    objective = dataclasses.replace(OBJECTIVE, queue=24)
    variables = init_variables(objective)
    one = first_step(objective, variables, BATCH, devices=1)
    check_same_step(one, first_step(objective, variables, BATCH, devices=8))
    check_learns(one)
    metrics, gradient, _ = one
    assert 1 <= metrics["prototypes_used"] <= 12
    assert np.abs(gradient["prototypes"]).max() > 1e-4


def test_the_queue_is_used_from_the_given_progress_and_drops_the_oldest():
    objective = dataclasses.replace(OBJECTIVE, queue=24, queue_from=0.5)
    variables = init_variables(objective)
    preprocess = Preprocessor(TWO_SECONDS, 100.0)
    loss = jax.jit(functools.partial(objective.loss, TINY, preprocess=preprocess))

    def run(variables, progress):
        return loss(variables, {**BATCH, "progress": jnp.float32(progress)}, jax.random.key(0))

    empty, (_, updates) = run(variables, 0.9)
    projection = np.asarray(updates["queue"]["projection"])
    np.testing.assert_allclose(
        np.linalg.norm(projection, axis=-1), [[1, 1]] * 16 + [[0, 0]] * 8, rtol=1e-5
    )
    loss_without_queue = jax.jit(functools.partial(OBJECTIVE.loss, TINY, preprocess=preprocess))
    without_queue = {name: part for name, part in variables.items() if name != "queue"}
    expected, _ = loss_without_queue(without_queue, BATCH, jax.random.key(0))
    np.testing.assert_allclose(empty, expected, rtol=1e-6)

    queue = _unit(np.random.default_rng(0).normal(size=(24, 2, 8))).astype(np.float32)
    full = {**variables, "queue": {"projection": queue}}
    early, (_, updates) = run(full, 0.4)
    np.testing.assert_allclose(early, empty, rtol=1e-6)
    np.testing.assert_array_equal(updates["queue"]["projection"][16:], queue[:8])
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
