"""JEPA: its difference against the formula, a target that follows slowly, and stretches that are not seen."""

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
from ecgjax.objectives.jepa import Jepa, _Predicting, hidden_difference

OBJECTIVE = Jepa(
    predictor_width=8, predictor_layers=1, predictor_heads=2, span_samples=20, momentum=(0.5, 0.75)
)
ON_EIGHT_DEVICES = TINY_VIT  # the others compile as long again
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = 1.5 * _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)
HIDDEN = _RNG.random((3, 4)) < 0.6


@pytest.mark.parametrize("smooth", [False, True])
def test_difference_and_gradient_equal_a_plain_loop(smooth):
    value, gradient = jax.jit(jax.value_and_grad(hidden_difference), static_argnames="smooth")(
        PREDICTED, TARGET, HIDDEN, smooth=smooth
    )
    total, slopes, count = 0.0, np.zeros(PREDICTED.shape), HIDDEN.sum() * 2 * 5
    for recording, row, column, channel in np.ndindex(PREDICTED.shape):
        if HIDDEN[recording, column]:
            place = recording, row, column, channel
            difference = float(PREDICTED[place]) - float(TARGET[place])
            quadratic = smooth and abs(difference) < 1
            total += 0.5 * difference**2 if quadratic else abs(difference) - 0.5 * smooth
            slopes[place] = (difference if quadratic else np.sign(difference)) / count
    np.testing.assert_allclose(value, total / count, rtol=1e-5)
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, TINY_LEAD_VIT], ids=["resnet", "vit", "leads"])
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(encoder):
    variables, batch = lively(initial(OBJECTIVE, encoder, FOUR_LEADS)), noise_batch(8, patients=6)
    one = first_step(OBJECTIVE, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    assert (
        0.7 <= one[0]["hidden"] <= 0.9 and one[0]["target_std"] > 0 and one[0]["embedding_rank"] > 1
    )
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                OBJECTIVE, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


def test_slow_encoder_keeps_what_the_progress_says():
    variables, batch = initial(OBJECTIVE, TINY_VIT, FOUR_LEADS), noise_batch(8, patients=6)
    slow = variables["result"]["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, slow, variables["params"]["encoder"])
    moved = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])}
    _, _, collections = first_step(
        OBJECTIVE, moved, batch, encoder=TINY_VIT, preprocessing=FOUR_LEADS
    )  # at progress 0 it keeps a half
    jax.tree.map(
        lambda slow, first: np.testing.assert_allclose(slow, first + 0.5, atol=1e-5),
        collections["result"]["params"]["encoder"],
        variables["result"]["params"]["encoder"],
    )


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, TINY_LEAD_VIT], ids=["resnet", "vit", "leads"])
def test_prediction_depends_on_what_is_kept_alone(encoder):
    variables, network = initial(OBJECTIVE, encoder, FOUR_LEADS), _Predicting(encoder, OBJECTIVE)
    columns = OBJECTIVE._columns(encoder, jnp.zeros((1, 200, 4)))
    own = {name: variables[name] for name in variables if name != "result"}
    hidden = np.asarray(OBJECTIVE.hide(jax.random.key(3), 4, columns, shortest=2))
    assert len(set(hidden.sum(1))) == 1 and 0.7 * columns <= hidden[0].sum() <= 0.9 * columns
    compiled = jax.jit(functools.partial(network.apply, train=False))
    predict = functools.partial(compiled, own, hidden=hidden)
    signal = np.random.default_rng(2).normal(size=(4, 200, 4)).astype(np.float32)
    by_sample = np.repeat(hidden, 200 // columns, axis=1)[..., None]
    np.testing.assert_allclose(
        predict(np.where(by_sample, 9.0, signal)), predict(signal), atol=1e-6
    )
    assert np.abs(predict(np.where(by_sample, signal, signal + 1.0)) - predict(signal)).max() > 1e-6


@pytest.mark.parametrize(
    "wrong",
    [
        {"kept": (0.3, 0.2)},
        {"kept": (0.0, 0.2)},
        {"momentum": (0.9, 1.1)},
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
