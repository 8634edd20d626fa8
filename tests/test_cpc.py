"""CPC: its loss against loops, the negatives it draws, and encoders with a context of their own."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    check_learns,
    check_same_step,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.encoders import ENCODERS
from ecgjax.encoders.conv_lstm import ConvLstm
from ecgjax.encoders.s4 import S4
from ecgjax.errors import InputError
from ecgjax.objectives.cpc import Cpc, batch_logits, draw_negatives, info_nce, recording_logits

OBJECTIVE = Cpc(negatives=8, lstm=6)
SMALL_CONV_LSTM = ConvLstm(widths=(6,), kernels=(1,), strides=(4,), lstm=5, lstm_layers=1)
SMALL_S4 = S4(widths=(6, 6), kernels=(3, 1), strides=(2, 1), layers=2, states=4)
BATCH = noise_batch(8)


def _reference(predictions, tokens, negatives, steps):
    """The loss in float64, one context after the other.

    negatives: (recording, context) -> (recording, token) of each negative.
    """
    losses = []
    for recording, context in np.ndindex(len(tokens), tokens.shape[1] - steps):
        prediction = predictions[recording, context]
        positive = math.exp(prediction @ tokens[recording, context + steps])
        negative = [math.exp(prediction @ tokens[place]) for place in negatives(recording, context)]
        losses.append(-math.log(positive / (positive + sum(negative))))
    return np.mean(losses)


def _recording_negatives(key):
    drawn = np.asarray(draw_negatives(key, (3, 7), steps=2, negatives=5))
    return lambda recording, context: [(recording, token) for token in drawn[recording, context]]


def _batch_negatives(key):
    drawn = [divmod(int(number), 7) for number in jax.random.randint(key, (5,), 0, 21)]
    return lambda recording, context: [
        place for place in drawn if place != (recording, context + 2)
    ]


@pytest.mark.parametrize(
    ("logits", "draw"),
    [(recording_logits, _recording_negatives), (batch_logits, _batch_negatives)],
    ids=["recording", "batch"],
)
def test_loss_and_gradient_equal_a_plain_loop(logits, draw):
    predictions, tokens = np.random.default_rng(0).normal(size=(2, 3, 7, 4))
    key = jax.random.key(0)
    negatives = draw(key)

    def loss(predictions, tokens):
        return info_nce(*logits(key, predictions, tokens, steps=2, negatives=5))[0]

    value, (prediction_gradient, token_gradient) = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1))
    )(predictions.astype(np.float32), tokens.astype(np.float32))
    np.testing.assert_allclose(value, _reference(predictions, tokens, negatives, 2), rtol=1e-5)
    expected = numeric_gradient(
        lambda predictions: _reference(predictions, tokens, negatives, 2), predictions, 1e-5
    )
    np.testing.assert_allclose(prediction_gradient, expected, atol=1e-5)
    expected = numeric_gradient(
        lambda tokens: _reference(predictions, tokens, negatives, 2), tokens, 1e-5
    )
    np.testing.assert_allclose(token_gradient, expected, atol=1e-5)


def test_negatives_are_all_other_tokens_equally_often_and_never_the_positive():
    drawn = np.asarray(draw_negatives(jax.random.key(0), (50, 6), steps=2, negatives=100))
    assert drawn.shape == (50, 4, 100)
    for context in range(4):
        counts = np.bincount(drawn[:, context].ravel(), minlength=6)
        assert counts[context + 2] == 0
        assert len(counts) == 6
        others = np.delete(counts, context + 2)
        assert np.abs(others - 1000).max() < 4 * math.sqrt(5000 * 0.2 * 0.8)


@pytest.mark.parametrize("logits", [recording_logits, batch_logits])
def test_accuracy_is_the_share_of_contexts_that_identify_their_token(logits):
    tokens = np.eye(6, dtype=np.float32)[None]
    future = np.roll(tokens, -2, axis=1)

    def accuracy(predictions):
        key = jax.random.key(0)
        return info_nce(*logits(key, predictions, tokens, steps=2, negatives=50))[1]

    assert accuracy(future) == 1
    assert accuracy(tokens) == 0
    future[0, 0] = tokens[0, 0]
    assert accuracy(future) == 0.75


@pytest.mark.parametrize(
    "encoder", [TINY, SMALL_CONV_LSTM], ids=["tokens of any encoder", "context of its own"]
)
def test_eight_devices_take_the_step_of_one(encoder):
    variables = init_variables(OBJECTIVE, encoder)
    one = first_step(OBJECTIVE, variables, BATCH, encoder=encoder, devices=1)
    check_same_step(one, first_step(OBJECTIVE, variables, BATCH, encoder=encoder, devices=8))
    check_learns(one)
    assert ("lstm" in variables["params"]) == (encoder is TINY)
    source = "batch" if encoder is TINY else "recording"  # the default for this encoder
    explicit = dataclasses.replace(OBJECTIVE, negatives_of=source)
    check_same_step(one, first_step(explicit, variables, BATCH, encoder=encoder, devices=1))


@pytest.mark.parametrize("encoder", [SMALL_CONV_LSTM, SMALL_S4])
def test_the_context_does_not_depend_on_the_future(encoder):
    """A change from sample 100 on changes the tokens that contain it and no earlier context; a
    change of the past does change the context."""
    signal = np.random.default_rng(0).normal(size=(1, 200, 12)).astype(np.float32)
    own = {name: part["encoder"] for name, part in init_variables(OBJECTIVE, encoder).items()}
    run = jax.jit(lambda signal: encoder.apply(own, signal, train=False)[0])
    later = signal.copy()
    later[:, 100:] += 1
    earlier = signal.copy()
    earlier[:, :20] += 1
    tokens = run(signal)
    half = tokens.shape[1] // 2
    np.testing.assert_allclose(run(later)[:, :half], tokens[:, :half], atol=1e-5)
    assert np.abs(run(later)[:, half] - tokens[:, half]).max() > 1e-3
    assert np.abs(run(earlier)[:, half] - tokens[:, half]).max() > 1e-7


def test_ecg_cpc_has_the_published_number_of_parameters():
    init = functools.partial(Cpc(steps=14, hidden=(512,)).init, ENCODERS["s4"])
    shapes = jax.eval_shape(
        init, jax.random.key(0), jax.ShapeDtypeStruct((2, 600, 12), jnp.float32)
    )
    total = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert 3.7e6 < total < 3.85e6


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"negatives": 0}, {"lstm": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give 1 or more of each"):
        Cpc(**wrong)


@pytest.mark.parametrize("source", ["recording", "batch"])
def test_a_horizon_beyond_the_recording_is_refused(source):
    objective = dataclasses.replace(OBJECTIVE, steps=50, negatives_of=source)
    with pytest.raises(InputError, match="--steps 50: the encoder makes 50 tokens of a recording"):
        first_step(objective, init_variables(OBJECTIVE), BATCH)
