"""Temporal and spatial tasks: the spatial error against its formula, the temporal one's positives, and the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    FOUR_LEADS,
    TINY_VIT,
    check_equal,
    check_learns,
    first_step,
    initial,
    lively,
    noise_batch,
    numeric_gradient,
)

from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.objectives.temporal_spatial import TemporalSpatial, relation_error

OBJECTIVE = TemporalSpatial(projection=(8, 4))
BRANCHES = LeadBranches(widths=(4,))
ON_EIGHT_DEVICES = BRANCHES  # the others compile as long again
_RNG = np.random.default_rng(0)
PROJECTED = _RNG.normal(size=(2, 3, 4)).astype(np.float32)
SIGNAL = _RNG.normal(size=(2, 20, 3)).astype(np.float32)


def _reference(projected):
    total = 0.0
    for segment in range(2):
        correlation = np.corrcoef(SIGNAL[segment].astype(np.float64).T)
        for one in range(3):
            for other in set(range(3)) - {one}:
                a, b = projected[segment, one], projected[segment, other]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                total += (cosine - correlation[one, other]) ** 2 / 12
    return total


def test_relation_error_and_gradient_equal_the_formula():
    value, gradient = jax.jit(jax.value_and_grad(relation_error))(
        jnp.asarray(PROJECTED), jnp.asarray(SIGNAL)
    )
    exact = PROJECTED.astype(np.float64)
    np.testing.assert_allclose(value, _reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_reference, exact), atol=1e-6)


def test_a_flat_lead_is_related_to_none():
    flat = SIGNAL.copy()
    flat[:, :, 0] = 1.0
    unit = np.eye(4, dtype=np.float32)[None, :3].repeat(2, axis=0)
    correlation = np.array([np.corrcoef(flat[segment, :, 1:].T)[0, 1] for segment in (0, 1)])
    np.testing.assert_allclose(
        relation_error(unit, flat), (2 * correlation**2 / 6).mean(), rtol=1e-4
    )
    assert np.isfinite(
        jax.jit(jax.grad(relation_error, argnums=1))(jnp.asarray(unit), jnp.asarray(flat))
    ).all()


@pytest.mark.parametrize("encoder", [TINY, TINY_VIT, BRANCHES], ids=["resnet", "vit", "branches"])
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(encoder):
    variables, batch = lively(initial(OBJECTIVE, encoder, FOUR_LEADS)), noise_batch(8, patients=6)
    one = first_step(OBJECTIVE, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    np.testing.assert_allclose(one[0]["loss"], one[0]["temporal"] + one[0]["spatial"], rtol=1e-5)
    assert one[0]["embedding_rank"] > 1
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                OBJECTIVE, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


def test_leads_of_one_recording_repel_and_those_of_its_patient_do_not():
    """Temporal loss of equal projections: log of how many choices a lead's segment has."""
    variables = initial(OBJECTIVE, BRANCHES, FOUR_LEADS)
    head = variables["params"]["projector"]
    dead = {
        "kernel": jnp.zeros_like(head["layer2"]["kernel"]),
        "bias": jnp.ones_like(head["layer2"]["bias"]),
    }
    variables = {
        **variables,
        "params": {**variables["params"], "projector": {**head, "layer2": dead}},
    }
    batch = {**noise_batch(3), "patient": np.array([5, 7, 5], np.int32)}
    metrics, _, _ = first_step(
        OBJECTIVE, variables, batch, encoder=BRANCHES, preprocessing=FOUR_LEADS
    )
    # Of 3 recordings x 4 leads x 2 segments: not the own lead's 2 segments, nor those of the patient's other recording.
    choices = {5: 1 + 24 - 4, 7: 1 + 24 - 2}
    np.testing.assert_allclose(
        metrics["temporal"], np.mean(np.log([choices[p] for p in batch["patient"]])), rtol=1e-5
    )


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"spatial": -1.0}, {"spatial": float("nan")}, {"leads": 1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(
        InputError, match="give a temperature above 0, a weight of 0 or more and at least 2 leads"
    ):
        TemporalSpatial(**wrong)
