"""Temporal and spatial tasks: the spatial loss against its formula, temporal negatives, and a
step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    FOUR_LEADS,
    TINY_VIT,
    check_step,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.objectives.temporal_spatial import TemporalSpatial, spatial_loss

OBJECTIVE = TemporalSpatial(projection=(8, 4))
BRANCHES = LeadBranches(widths=(4,))
_RNG = np.random.default_rng(0)
PROJECTED = _RNG.normal(size=(2, 3, 4)).astype(np.float32)
SIGNAL = _RNG.normal(size=(2, 20, 3)).astype(np.float32)


def _reference(projected):
    total = 0.0
    for segment in range(2):
        correlation = np.corrcoef(SIGNAL[segment].astype(np.float64).T)
        for one in range(3):
            for other in set(range(3)) - {one}:
                a = projected[segment, one]
                b = projected[segment, other]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                total += (cosine - correlation[one, other]) ** 2 / 12
    return total


def test_spatial_loss_and_gradient_equal_the_formula():
    value, gradient = jax.jit(jax.value_and_grad(spatial_loss))(
        jnp.asarray(PROJECTED), jnp.asarray(SIGNAL)
    )
    exact = PROJECTED.astype(np.float64)
    np.testing.assert_allclose(value, _reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_reference, exact), atol=1e-6)


def test_a_flat_lead_has_correlation_zero():
    flat = SIGNAL.copy()
    flat[:, :, 0] = 1.0
    unit = np.eye(4, dtype=np.float32)[None, :3].repeat(2, axis=0)
    correlation = np.array([np.corrcoef(flat[segment, :, 1:].T)[0, 1] for segment in (0, 1)])
    expected = (2 * correlation**2 / 6).mean()
    np.testing.assert_allclose(spatial_loss(unit, flat), expected, rtol=1e-4)
    gradient = jax.jit(jax.grad(spatial_loss, argnums=1))(jnp.asarray(unit), jnp.asarray(flat))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, BRANCHES], ids=["resnet", "vit", "branches"])
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(encoder):
    metrics, _, _ = check_step(
        OBJECTIVE,
        noise_batch(8, patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is BRANCHES,
    )
    np.testing.assert_allclose(metrics["loss"], metrics["temporal"] + metrics["spatial"], rtol=1e-5)


def test_other_leads_are_negatives_and_other_recordings_of_the_patient_are_not():
    """The temporal loss of equal projections is the log of the number of candidates."""
    variables = init_variables(OBJECTIVE, BRANCHES, FOUR_LEADS)
    head = variables["params"]["projector"]
    constant = {
        "kernel": jnp.zeros_like(head["layer2"]["kernel"]),
        "bias": jnp.ones_like(head["layer2"]["bias"]),
    }
    params = {**variables["params"], "projector": {**head, "layer2": constant}}
    batch = {**noise_batch(3), "patient": np.array([5, 7, 5], np.int32)}
    metrics, _, _ = first_step(
        OBJECTIVE,
        {**variables, "params": params},
        batch,
        encoder=BRANCHES,
        preprocessing=FOUR_LEADS,
    )
    # 3 recordings x 4 leads x 2 segments = 24 views. The partner is a candidate. Excluded are the
    # two segments of the lead itself and those of the same lead in the patient's other recording.
    candidates = {5: 1 + 24 - 4, 7: 1 + 24 - 2}
    expected = np.mean(np.log([candidates[patient] for patient in batch["patient"]]))
    np.testing.assert_allclose(metrics["temporal"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"spatial": -1.0}, {"spatial": float("nan")}, {"leads": 1}]
)
def test_impossible_settings_are_refused(wrong):
    message = "give a temperature above 0, a weight of 0 or more and at least 2 leads"
    with pytest.raises(InputError, match=message):
        TemporalSpatial(**wrong)
