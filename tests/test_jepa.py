"""JEPA: its loss against the formula, the EMA of its target encoder, and masked stretches."""

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
    first_step,
    init_variables,
    noise_batch,
)

from ecgjax.errors import InputError
from ecgjax.objectives.jepa import Jepa, JepaNetwork, prediction_loss
from ecgjax.objectives.parts.ema import limit_decay
from ecgjax.objectives.parts.spread import SpreadWeights

OBJECTIVE = Jepa(
    predictor_width=8,
    predictor_layers=1,
    predictor_heads=2,
    span_samples=20,
    momentum=(0.5, 0.75),
    memory=0.0,
    spread=SpreadWeights(variance=1.0, covariance=0.1),
)
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = 1.5 * _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)
MASK = _RNG.random((3, 4)) < 0.6


@pytest.mark.parametrize("smooth", [False, True])
def test_loss_and_gradient_equal_a_plain_loop(smooth):
    value, gradient = jax.jit(jax.value_and_grad(prediction_loss), static_argnames="smooth")(
        PREDICTED, TARGET, MASK, smooth=smooth
    )
    total = 0.0
    slopes = np.zeros(PREDICTED.shape)
    count = MASK.sum() * 2 * 5
    for recording, row, column, channel in np.ndindex(PREDICTED.shape):
        if MASK[recording, column]:
            place = (recording, row, column, channel)
            difference = float(PREDICTED[place]) - float(TARGET[place])
            quadratic = smooth and abs(difference) < 1
            total += 0.5 * difference**2 if quadratic else abs(difference) - 0.5 * smooth
            slopes[place] = (difference if quadratic else np.sign(difference)) / count
    np.testing.assert_allclose(value, total / count, rtol=1e-5)
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, TINY_LEAD_VIT], ids=["resnet", "vit", "leads"])
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(encoder):
    metrics, _, _ = check_step(
        OBJECTIVE,
        noise_batch(8, patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is TINY_VIT,
    )
    assert 0.7 <= metrics["hidden"] <= 0.9
    assert metrics["target_std"] > 0


def test_the_target_encoder_is_an_ema_with_the_decay_of_the_schedule():
    variables = init_variables(OBJECTIVE, TINY_VIT, FOUR_LEADS)
    initial = variables["result"]["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, initial, variables["params"]["encoder"])
    moved = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])}
    _, _, collections = first_step(
        OBJECTIVE,
        moved,
        noise_batch(8, patients=6),
        encoder=TINY_VIT,
        preprocessing=FOUR_LEADS,
    )
    jax.tree.map(  # the EMA decay is 0.5 at progress 0
        lambda average, start: np.testing.assert_allclose(average, start + 0.5, atol=1e-5),
        collections["result"]["params"]["encoder"],
        initial,
    )


def test_the_decay_is_limited_in_short_runs_only():
    """A memory of 5 % of a run: 13.75 of 275 steps, 1 step of 10, 5,000 of 100,000."""
    limited = [float(limit_decay(0.996, steps, memory=0.05)) for steps in (275, 10, 100_000)]
    np.testing.assert_allclose(limited, [1 - 1 / 13.75, 0, 0.996], rtol=1e-6)
    assert limit_decay(0.996, 275, memory=0.0) == 0.996


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, TINY_LEAD_VIT], ids=["resnet", "vit", "leads"])
def test_the_prediction_depends_on_visible_columns_only(encoder):
    variables = init_variables(OBJECTIVE, encoder, FOUR_LEADS)
    columns = OBJECTIVE.columns(encoder, jnp.zeros((1, 200, 4)))
    own = {name: variables[name] for name in variables if name != "result"}
    mask = np.asarray(OBJECTIVE.draw_mask(jax.random.key(3), 4, columns, shortest=2))
    assert len(set(mask.sum(1))) == 1
    assert 0.7 * columns <= mask[0].sum() <= 0.9 * columns
    compiled = jax.jit(functools.partial(JepaNetwork(encoder, OBJECTIVE).apply, train=False))

    def predict(signal):
        return compiled(own, signal, mask=mask)[0]

    signal = np.random.default_rng(2).normal(size=(4, 200, 4)).astype(np.float32)
    sample_mask = np.repeat(mask, 200 // columns, axis=1)[..., None]
    predicted = predict(signal)
    np.testing.assert_allclose(predict(np.where(sample_mask, 9.0, signal)), predicted, atol=1e-6)
    visible_changed = np.where(sample_mask, signal, signal + 1.0)
    assert np.abs(predict(visible_changed) - predicted).max() > 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"kept": (0.3, 0.2)},
        {"kept": (0.0, 0.2)},
        {"momentum": (0.9, 1.1)},
        {"memory": -1.0},
        {"shortest_block_s": 0.0},
        {"shortest_block_s": float("nan")},
        {"span_samples": 0},
        {"predictor_layers": 0},
        {"predictor_width": 97},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Jepa(**wrong)


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT], ids=["resnet", "vit"])
def test_recordings_of_one_token_are_refused(encoder):
    short = np.zeros((2, 10, 4), np.float32)
    with pytest.raises(InputError, match="recordings of 10 samples are one token"):
        OBJECTIVE.init(encoder, jax.random.key(0), short)
