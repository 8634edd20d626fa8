"""SimCLR: NT-Xent of two views of each recording, whoever the patient is. NT-Xent itself: test_nt_xent."""

import dataclasses
import functools

import jax
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

from ecgjax.augment import MEHARI_VIEWS
from ecgjax.errors import InputError
from ecgjax.objectives.simclr import Simclr
from ecgjax.preprocessing import Preprocessor, preprocess

OBJECTIVE = Simclr(projection=(16, 8), augmentation=dataclasses.replace(CROPS, stretch=0.5))
LOSS = functools.partial(OBJECTIVE.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
BATCH = noise_batch(16)


def test_loss_is_that_of_the_paper():
    """In float64 from the projections: 2N views, each with its partner among 2N - 1 others (eq. 1)."""
    variables, key = initial(OBJECTIVE), jax.random.key(3)

    @jax.jit
    def project(signal):
        recordings = preprocess(signal, TWO_SECONDS, rate_hz=100.0)
        views = OBJECTIVE.augmentation.views(recordings, key, rate_hz=100.0, each=2)
        return OBJECTIVE._network(TINY).apply(
            variables, views, train=True, mutable=["batch_stats"]
        )[0][1]

    z = np.asarray(project(BATCH["signal"]), np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    terms = np.exp(z @ z.T / 0.5) * (1 - np.eye(32))
    expected = -np.log(terms[np.arange(32), np.arange(32) ^ 1] / terms.sum(1)).mean()
    found, (metrics, _) = jax.jit(LOSS)(variables, BATCH, key)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["positive_cosine"], (z[::2] * z[1::2]).sum(1).mean(), atol=1e-4
    )


def test_other_recordings_of_the_patient_repel():
    variables, key, loss = initial(OBJECTIVE), jax.random.key(3), jax.jit(LOSS)
    one_patient = {**BATCH, "patient": np.zeros(16, np.int32)}
    assert loss(variables, one_patient, key)[0] == loss(variables, BATCH, key)[0]


def test_eight_devices_take_the_step_of_one():
    one, eight = (
        first_step(OBJECTIVE, initial(OBJECTIVE), BATCH, devices=devices) for devices in (1, 8)
    )
    check_equal(one, eight)
    check_learns(one)


def test_defaults_are_the_papers():
    assert Simclr() == Simclr(temperature=0.5, projection=(2048, 128), augmentation=MEHARI_VIEWS)
    assert (MEHARI_VIEWS.stretch, MEHARI_VIEWS.shortest_time_out, MEHARI_VIEWS.time_out) == (
        0.5,
        0.2,
        0.4,
    )


def test_impossible_temperature_is_refused():
    with pytest.raises(InputError, match="temperature 0: give one above 0"):
        Simclr(temperature=0)
    with pytest.raises(InputError, match="temperature nan: give one above 0"):
        Simclr(temperature=float("nan"))
