"""Lead bootstrap: its losses against the formula, the EMA of its target, and encoding lead by
lead."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    CROPS,
    FOUR_LEADS,
    check_step,
    init_variables,
    noise_batch,
    perturb_params,
)

from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.objectives.lead_bootstrap import LeadBootstrap, lead_losses
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings

OBJECTIVE = LeadBootstrap(
    projection=(8, 4),
    prediction=(8, 4),
    momentum=0.5,
    augmentation=dataclasses.replace(CROPS, lead_mask=0.0),
)
BRANCHES = LeadBranches(widths=(4,))
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)


def _reference(predicted, target):
    """Losses within and between leads and their gradients: pair by pair, in float64."""
    losses = [0.0, 0.0]
    gradients = [np.zeros(predicted.shape), np.zeros(predicted.shape)]
    leads = predicted.shape[-2]
    outer = predicted.shape[:-2]
    for place in np.ndindex(*outer):
        for own, other in np.ndindex(leads, leads):
            p = predicted[place][own].astype(np.float64)
            t = target[place][other].astype(np.float64)
            size = np.linalg.norm(p)
            unit = t / np.linalg.norm(t)
            loss, count = (0, leads) if own == other else (1, leads * (leads - 1))
            share = 1 / (count * np.prod(outer))
            losses[loss] += share * ((p / size - unit) ** 2).sum()
            slope = -2 * share * (unit - (unit @ p) * p / size**2) / size
            gradients[loss][place][own] += slope
    return losses, gradients


@pytest.mark.parametrize("number", [0, 1], ids=["within leads", "between leads"])
def test_losses_and_gradients_equal_a_plain_loop(number):
    losses, gradients = _reference(PREDICTED, TARGET)
    loss = jax.value_and_grad(lambda predicted: lead_losses(predicted, jnp.asarray(TARGET))[number])
    value, gradient = jax.jit(loss)(jnp.asarray(PREDICTED))
    np.testing.assert_allclose(value, losses[number], rtol=1e-5)
    np.testing.assert_allclose(gradient, gradients[number], atol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, BRANCHES], ids=["resnet", "branches"])
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(encoder):
    metrics, _, collections = check_step(
        OBJECTIVE,
        noise_batch(8, patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is BRANCHES,
    )
    np.testing.assert_allclose(
        metrics["loss"], 2 * (metrics["intra_lead"] + metrics["inter_lead"]), rtol=1e-5
    )
    average = collections["slow"]["params"]
    assert set(average) == {"encoder", "projector"}
    variables = perturb_params(init_variables(OBJECTIVE, encoder, FOUR_LEADS))
    jax.tree.map(  # the EMA decay is 0.5 at progress 0
        lambda new, old, own: np.testing.assert_allclose(new, (old + own) / 2, atol=1e-5),
        average,
        variables["slow"]["params"],
        {name: variables["params"][name] for name in average},
    )


def test_other_encoders_encode_one_lead_at_a_time():
    signal = np.random.default_rng(2).normal(size=(3, 64, 5)).astype(np.float32)
    variables = jax.jit(functools.partial(TINY.init, train=False))(jax.random.key(0), signal)
    leads = draw_leads(TINY, jax.random.key(1), signal, 3)
    assert leads.shape == (3, 3)
    assert all(len(set(row)) == 3 for row in leads.tolist())
    embeddings = jax.jit(
        lambda signal: lead_embeddings(TINY.bind(variables), signal, leads, train=False)
    )(signal)
    single_leads = np.zeros((3, 3, *signal.shape[1:]), np.float32)
    for recording, row in enumerate(leads):
        for number, lead in enumerate(row):
            single_leads[recording, number, :, lead] = signal[recording, :, lead]
    embed = jax.jit(lambda signal: TINY.apply(variables, signal, train=False)[1])
    expected = embed(single_leads.reshape(9, 64, 5)).reshape(3, 3, -1)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_an_encoder_with_lead_embeddings_compares_all_leads():
    signal = np.zeros((3, 64, 5), np.float32)
    assert draw_leads(BRANCHES, jax.random.key(1), signal, 3).tolist() == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": 1.0},
        {"momentum": 1.1},
        {"inter": -1.0},
        {"inter": float("nan")},
        {"leads": 1},
        {"projection": (8, 4), "prediction": (8, 5)},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        LeadBootstrap(**wrong)
