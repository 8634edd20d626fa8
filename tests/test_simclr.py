"""SimCLR: NT-Xent of two views per recording, whatever the patients. NT-Xent itself:
test_nt_xent."""

import dataclasses
import functools

import jax
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
)

from ecgjax.augment import MEHARI_VIEWS
from ecgjax.errors import InputError
from ecgjax.objectives.simclr import Simclr
from ecgjax.preprocessing import Preprocessor, preprocess

OBJECTIVE = Simclr(projection=(16, 8), augmentation=dataclasses.replace(CROPS, stretch=0.5))
LOSS = functools.partial(OBJECTIVE.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
BATCH = noise_batch(16)


def test_loss_equals_the_formula():
    """Eq. 1 in float64, from the projections: 2N views, each with its partner among 2N - 1
    others."""
    variables = init_variables(OBJECTIVE)
    key = jax.random.key(3)

    @jax.jit
    def project(signal):
        recordings = preprocess(signal, TWO_SECONDS, rate_hz=100.0)
        views = OBJECTIVE.augmentation.views(recordings, key, rate_hz=100.0, each=2)
        (_, projections), _ = OBJECTIVE.network(TINY).apply(
            variables, views, train=True, mutable=["batch_stats"]
        )
        return projections

    z = np.asarray(project(BATCH["signal"]), np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    terms = np.exp(z @ z.T / 0.5) * (1 - np.eye(32))
    expected = -np.log(terms[np.arange(32), np.arange(32) ^ 1] / terms.sum(1)).mean()
    loss, (metrics, _) = jax.jit(LOSS)(variables, BATCH, key)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["positive_cosine"], (z[::2] * z[1::2]).sum(1).mean(), atol=1e-4
    )


def test_other_recordings_of_the_patient_are_negatives():
    variables = init_variables(OBJECTIVE)
    key = jax.random.key(3)
    loss = jax.jit(LOSS)
    one_patient = {**BATCH, "patient": np.zeros(16, np.int32)}
    assert loss(variables, one_patient, key)[0] == loss(variables, BATCH, key)[0]


def test_eight_devices_take_the_step_of_one():
    variables = init_variables(OBJECTIVE)
    one = first_step(OBJECTIVE, variables, BATCH, devices=1)
    check_same_step(one, first_step(OBJECTIVE, variables, BATCH, devices=8))
    check_learns(one)


def test_defaults_are_the_settings_of_the_paper():
    assert Simclr() == Simclr(temperature=0.5, projection=(2048, 128), augmentation=MEHARI_VIEWS)
    assert MEHARI_VIEWS.stretch == 0.5
    assert (MEHARI_VIEWS.shortest_time_out, MEHARI_VIEWS.time_out) == (0.2, 0.4)


def test_impossible_temperature_is_refused():
    with pytest.raises(InputError, match="temperature 0: give one above 0"):
        Simclr(temperature=0)
    with pytest.raises(InputError, match="temperature nan: give one above 0"):
        Simclr(temperature=float("nan"))
