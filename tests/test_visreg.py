"""VISReg: its three terms against a reference in float64, the loss on eight devices, a collapse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers.steps import (
    CROPS,
    check_learns,
    check_same_step,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.errors import InputError
from ecgjax.objectives.parts.multi_crop import random_slices
from ecgjax.objectives.visreg import Visreg, quantile_distance, regularisation

# Crops of two lengths are test_lejepa's: they compile two encoders.
OBJECTIVE = Visreg(directions=8, projection=(16, 8), augmentation=CROPS, small_crops=0)
BATCH = noise_batch(16)
KEY = jax.random.key(0)
PROJECTIONS = np.random.default_rng(0).normal(0.4, 1.7, size=(3, 12, 4))


def _quantile_distance(values):
    """The squared differences of sorted values and normal quantiles, in float64."""
    count = len(values)
    quantiles = scipy.stats.norm.ppf(np.arange(1, count + 1) / (count + 1))
    return np.mean((np.sort(values) - quantiles) ** 2)


def test_quantile_distance_equals_the_formula_and_bounds_that_of_scipy():
    values = np.random.default_rng(1).normal(0.5, 2, size=(50, 3))
    distance = quantile_distance(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(distance, [_quantile_distance(v) for v in values.T], rtol=1e-4)
    quantiles = scipy.stats.norm.ppf(np.arange(1, 51) / 51)
    first = [scipy.stats.wasserstein_distance(column, quantiles) for column in values.T]
    # The mean of squares is at least the square of the mean: W1 <= W2.
    assert (np.sqrt(distance) >= np.array(first) - 1e-6).all()
    shifted = quantile_distance(jnp.asarray(quantiles[:, None] + 0.7, jnp.float32))
    np.testing.assert_allclose(shifted, [0.49], rtol=1e-4)


def _reference(projections, directions, scale=None):
    """Centre, scale and shape in float64, one crop after the other; `scale` replaces that of the
    standardised values, which has no gradient."""
    terms = []
    for number, crop in enumerate(projections):
        mean = crop.mean(0)
        deviation = crop.std(0)
        values = (crop - mean) / (deviation if scale is None else scale[number]) @ directions
        shape = np.mean([_quantile_distance(column) for column in values.T])
        terms.append(((mean**2).mean(), ((deviation - 1) ** 2).mean(), shape))
    return np.mean(terms, axis=0)


def test_terms_and_gradient_equal_a_plain_loop():
    directions = np.asarray(random_slices(jnp.eye(4), KEY, directions=5))
    terms = functools.partial(regularisation, key=KEY, directions=5)
    given = jnp.asarray(PROJECTIONS, jnp.float32)
    np.testing.assert_allclose(terms(given), _reference(PROJECTIONS, directions), rtol=1e-4)
    gradient = jax.jit(jax.grad(lambda projections: sum(terms(projections))))(given)
    scale = PROJECTIONS.std(1)
    expected = numeric_gradient(
        lambda moved: _reference(moved, directions, scale).sum(), PROJECTIONS
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_collapsed_projections_have_a_higher_loss_and_a_finite_gradient():
    spread = jnp.asarray(np.random.default_rng(2).normal(size=(2, 64, 8)), jnp.float32)
    line = jnp.repeat(spread[..., :1], 8, axis=-1)  # all dimensions are the same

    def total(projections):
        return sum(regularisation(projections, KEY, directions=64))

    assert total(spread) < 0.1 < total(line) < total(0 * spread)
    assert np.isfinite(jax.grad(total)(0 * spread)).all()


def test_eight_devices_take_the_step_of_one():
    variables = init_variables(OBJECTIVE)
    one = first_step(OBJECTIVE, variables, BATCH, devices=1)
    check_same_step(one, first_step(OBJECTIVE, variables, BATCH, devices=8))
    check_learns(one)
    metrics = one[0]
    spread = metrics["centre"] + metrics["scale"] + metrics["shape"]
    total = 0.5 * metrics["centre_distance"] + 0.5 * spread
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"weight": -0.1}, {"directions": 0}, {"small_crops": -1}, {"small_crop_s": float("nan")}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Visreg(**wrong)
