"""LeJEPA: SIGReg against numerical integration, the loss on eight devices, and a collapse."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
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

from ecgjax.errors import InputError
from ecgjax.objectives.lejepa import Lejepa, epps_pulley, sigreg
from ecgjax.objectives.parts.multi_crop import centre_distance, random_slices
from ecgjax.preprocessing import Preprocessor

OBJECTIVE = Lejepa(
    directions=8, projection=(16, 8), augmentation=CROPS, small_crops=2, small_crop_s=0.5
)
BATCH = noise_batch(16)
SAMPLES = np.random.default_rng(0).normal(0.3, [0.01, 0.6, 1, 3], size=(40, 4)).astype(np.float32)


def _integral(values):
    """The statistic in float64, by adaptive integration from -3 to 3."""
    values = values.astype(np.float64)

    def gap(t):
        return abs(np.exp(1j * t * values).mean() - np.exp(-t * t / 2)) ** 2 * np.exp(-t * t / 2)

    return len(values) * scipy.integrate.quad(gap, -3, 3, epsabs=1e-10, limit=200)[0]


def test_statistic_equals_numerical_integration():
    statistic = jax.jit(epps_pulley)(SAMPLES)
    np.testing.assert_allclose(statistic, [_integral(column) for column in SAMPLES.T], rtol=2e-3)
    assert statistic[2] < min(statistic[0], statistic[1], statistic[3])  # normal but for its mean


def test_statistic_is_near_the_closed_form_of_the_whole_integral():
    """Baringhaus & Henze 1988 give it for an infinite range; beyond 3 little is left."""
    values = SAMPLES[:, 2].astype(np.float64)
    count = len(values)
    pairs = np.exp(-np.square(values[:, None] - values) / 2).sum() / count
    single = np.sqrt(2) * np.exp(-np.square(values) / 4).sum()
    whole = np.sqrt(2 * np.pi) * (pairs - single + count / np.sqrt(3))
    np.testing.assert_allclose(epps_pulley(jnp.asarray(SAMPLES))[2], whole, atol=0.03)


def test_a_normal_sample_has_a_statistic_that_does_not_depend_on_its_size():
    rng = np.random.default_rng(1)
    means = [epps_pulley(jnp.asarray(rng.normal(size=(n, 200)))).mean() for n in (16, 256)]
    np.testing.assert_allclose(*means, rtol=0.2)


def test_directions_have_unit_length():
    slices = random_slices(jnp.eye(6), jax.random.key(0), directions=5)
    np.testing.assert_allclose(np.linalg.norm(slices, axis=0), np.ones(5), rtol=1e-6)


def test_collapsed_projections_have_a_higher_loss():
    spread = jnp.asarray(np.random.default_rng(2).normal(size=(2, 64, 8)), jnp.float32)
    line = jnp.repeat(spread[..., :1], 8, axis=-1)  # all dimensions are the same
    measure = functools.partial(sigreg, key=jax.random.key(0), directions=64)
    normal, on_line, at_point = (float(measure(given)) for given in (spread, line, 0 * spread))
    assert normal < 1.5 < 3 < on_line < at_point
    np.testing.assert_allclose(at_point, _integral(np.zeros(64)), rtol=1e-2)


def test_the_centre_is_the_mean_of_the_long_crops():
    crops = np.random.default_rng(0).normal(size=(5, 4, 3))
    centre = (crops[:, 0] + crops[:, 1]) / 2
    expected = np.mean([(crops[:, crop] - centre) ** 2 for crop in range(4)])
    np.testing.assert_allclose(
        centre_distance(jnp.asarray(crops, jnp.float32)), expected, rtol=1e-6
    )


def test_eight_devices_take_the_step_of_one():
    variables = init_variables(OBJECTIVE)
    one = first_step(OBJECTIVE, variables, BATCH, devices=1)
    check_same_step(one, first_step(OBJECTIVE, variables, BATCH, devices=8))
    check_learns(one)
    metrics = one[0]
    total = 0.95 * metrics["centre_distance"] + 0.05 * metrics["sigreg"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


def test_without_short_crops_the_long_ones_are_compared():
    objective = dataclasses.replace(OBJECTIVE, small_crops=0)
    loss = functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    batch = jax.tree.map(jnp.asarray, BATCH)
    variables = jax.eval_shape(lambda: init_variables(objective))
    shapes = jax.eval_shape(loss, variables, batch, jax.random.key(0))
    assert shapes[0].shape == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 1.5},
        {"weight": float("nan")},
        {"directions": 0},
        {"small_crops": -1},
        {"small_crop_s": 0.0},
        {"projection": ()},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Lejepa(**wrong)
