"""CPC: its loss against loops, the candidates it draws, and which encoders bring a context of their own."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import check_equal, check_learns, first_step, initial, noise_batch

from ecgjax.encoders import ENCODERS
from ecgjax.encoders.conv_lstm import ConvLstm
from ecgjax.encoders.s4 import S4
from ecgjax.errors import InputError
from ecgjax.objectives.cpc import Cpc, draw_negatives, info_nce, of_the_batch, of_the_recording

OBJECTIVE = Cpc(negatives=8, lstm=6)
SMALL = ConvLstm(widths=(6,), kernels=(1,), strides=(4,), lstm=5, lstm_layers=1)
BATCH = noise_batch(8)


def _reference(predictions, tokens, others, steps):
    """In float64, one context after the other; others: (recording, place) of the candidates of each context."""
    losses = []
    for recording, context in np.ndindex(len(tokens), tokens.shape[1] - steps):
        right = math.exp(predictions[recording, context] @ tokens[recording, context + steps])
        wrong = [
            math.exp(predictions[recording, context] @ tokens[other])
            for other in others(recording, context)
        ]
        losses.append(-math.log(right / (right + sum(wrong))))
    return np.mean(losses)


def _others_of_the_recording(key):
    drawn = np.asarray(draw_negatives(key, (3, 7), steps=2, negatives=5))
    return lambda recording, context: [(recording, place) for place in drawn[recording, context]]


def _others_of_the_batch(key):
    drawn = [divmod(int(place), 7) for place in jax.random.randint(key, (5,), 0, 21)]
    return lambda recording, context: [
        other for other in drawn if other != (recording, context + 2)
    ]


@pytest.mark.parametrize(
    ("candidates", "others"),
    [(of_the_recording, _others_of_the_recording), (of_the_batch, _others_of_the_batch)],
    ids=["recording", "batch"],
)
def test_loss_and_gradient_are_those_of_the_loops(candidates, others):
    predictions, tokens = np.random.default_rng(0).normal(size=(2, 3, 7, 4))
    key = jax.random.key(0)

    def loss(predictions, tokens):
        return info_nce(*candidates(key, predictions, tokens, steps=2, negatives=5))[0]

    given = predictions.astype(np.float32), tokens.astype(np.float32)
    found, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*given)
    np.testing.assert_allclose(found, _reference(predictions, tokens, others(key), 2), rtol=1e-5)
    for number, gradient in enumerate(gradients):
        expected = np.zeros_like(tokens)
        for place in np.ndindex(tokens.shape):
            values = []
            for sign in (1, -1):
                arrays = [predictions.copy(), tokens.copy()]
                arrays[number][place] += sign * 1e-5
                values.append(_reference(*arrays, others(key), 2))
            expected[place] = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_negatives_are_every_other_token_equally_often_and_never_the_right_one():
    drawn = np.asarray(draw_negatives(jax.random.key(0), (50, 6), steps=2, negatives=100))
    assert drawn.shape == (50, 4, 100)
    for context in range(4):
        counts = np.bincount(drawn[:, context].ravel(), minlength=6)
        assert counts[context + 2] == 0 and len(counts) == 6
        assert np.abs(np.delete(counts, context + 2) - 1000).max() < 4 * math.sqrt(5000 * 0.2 * 0.8)


@pytest.mark.parametrize("candidates", [of_the_recording, of_the_batch])
def test_accuracy_is_the_share_of_contexts_that_prefer_the_right_token(candidates):
    tokens = np.eye(6, dtype=np.float32)[None]
    ahead = np.roll(tokens, -2, axis=1)

    def accuracy(predictions):
        return info_nce(*candidates(jax.random.key(0), predictions, tokens, steps=2, negatives=50))[
            1
        ]

    assert accuracy(ahead) == 1 and accuracy(tokens) == 0
    ahead[0, 0] = tokens[0, 0]
    assert accuracy(ahead) == 0.75


@pytest.mark.parametrize(
    "encoder", [TINY, SMALL], ids=["tokens of any encoder", "context of its own"]
)
def test_eight_devices_take_the_step_of_one(encoder):
    variables = initial(OBJECTIVE, encoder)
    one, eight = (
        first_step(OBJECTIVE, variables, BATCH, encoder=encoder, devices=devices)
        for devices in (1, 8)
    )
    check_equal(one, eight)
    check_learns(one)
    assert ("lstm" in variables["params"]) == (encoder is TINY)
    place = dataclasses.replace(OBJECTIVE, negatives_of="batch" if encoder is TINY else "recording")
    check_equal(one, first_step(place, variables, BATCH, encoder=encoder, devices=1))


@pytest.mark.parametrize(
    "encoder", [SMALL, S4(widths=(6, 6), kernels=(3, 1), strides=(2, 1), layers=2, states=4)]
)
def test_context_knows_nothing_of_what_is_to_be_foretold(encoder):
    """A change from sample 100 on shows in tokens that hold it and in no context before them; what came before does."""
    signal = np.random.default_rng(0).normal(size=(1, 200, 12)).astype(np.float32)
    own = {name: part["encoder"] for name, part in initial(OBJECTIVE, encoder).items()}
    run = jax.jit(lambda signal: encoder.apply(own, signal, train=False)[0])
    later, earlier = signal.copy(), signal.copy()
    later[:, 100:] += 1
    earlier[:, :20] += 1
    tokens, place = run(signal), run(signal).shape[1] // 2
    np.testing.assert_allclose(run(later)[:, :place], tokens[:, :place], atol=1e-5)
    assert np.abs(run(later)[:, place] - tokens[:, place]).max() > 1e-3
    assert np.abs(run(earlier)[:, place] - tokens[:, place]).max() > 1e-7


def test_ecg_cpc_has_as_many_parameters_as_published():
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


@pytest.mark.parametrize("place", ["recording", "batch"])
def test_horizon_beyond_the_recording_is_refused(place):
    with pytest.raises(InputError, match="--steps 50: the encoder makes 50 tokens of a recording"):
        first_step(
            dataclasses.replace(OBJECTIVE, steps=50, negatives_of=place), initial(OBJECTIVE), BATCH
        )
