"""Bootstrap of leads: its errors against the formula, a network that follows slowly, and leads shown one at a time."""

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
    check_equal,
    check_learns,
    first_step,
    initial,
    lively,
    noise_batch,
)

from ecgjax.encoders.lead_branches import LeadBranches
from ecgjax.errors import InputError
from ecgjax.objectives.lead_bootstrap import LeadBootstrap, lead_errors
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings

OBJECTIVE = LeadBootstrap(
    projection=(8, 4),
    prediction=(8, 4),
    momentum=0.5,
    augmentation=dataclasses.replace(CROPS, lead_mask=0.0),
)
BRANCHES = LeadBranches(widths=(4,))
ON_EIGHT_DEVICES = BRANCHES  # the others compile as long again
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 3, 2, 4, 5)).astype(np.float32)


def _reference(predicted, target):
    """Both errors and their gradients, one pair of leads after the other, in float64."""
    errors, gradients = [0.0, 0.0], [np.zeros(predicted.shape), np.zeros(predicted.shape)]
    leads, outer = predicted.shape[-2], predicted.shape[:-2]
    for place in np.ndindex(*outer):
        for own in range(leads):
            for other in range(leads):
                p, t = (
                    predicted[place][own].astype(np.float64),
                    target[place][other].astype(np.float64),
                )
                size, unit = np.linalg.norm(p), t / np.linalg.norm(t)
                which, count = (0, leads) if own == other else (1, leads * (leads - 1))
                share = 1 / (count * np.prod(outer))
                errors[which] += share * ((p / size - unit) ** 2).sum()
                gradients[which][place][own] += (
                    -2 * share * (unit - (unit @ p) * p / size**2) / size
                )
    return errors, gradients


def test_errors_and_gradients_equal_a_plain_loop():
    errors, gradients = _reference(PREDICTED, TARGET)
    for which in (0, 1):
        value, gradient = jax.jit(
            jax.value_and_grad(lambda p, which=which: lead_errors(p, jnp.asarray(TARGET))[which])
        )(jnp.asarray(PREDICTED))
        np.testing.assert_allclose(value, errors[which], rtol=1e-5)
        np.testing.assert_allclose(gradient, gradients[which], atol=1e-6)


@pytest.mark.parametrize("encoder", [TINY, BRANCHES], ids=["resnet", "branches"])
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(encoder):
    variables, batch = lively(initial(OBJECTIVE, encoder, FOUR_LEADS)), noise_batch(8, patients=6)
    one = first_step(OBJECTIVE, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    np.testing.assert_allclose(
        one[0]["loss"], 2 * (one[0]["intra_lead"] + one[0]["inter_lead"]), rtol=1e-5
    )
    assert one[0]["embedding_rank"] > 1
    slow = one[2]["slow"]["params"]  # at progress 0 it keeps a half
    assert set(slow) == {"encoder", "projector"}
    jax.tree.map(
        lambda new, old, own: np.testing.assert_allclose(new, (old + own) / 2, atol=1e-5),
        slow,
        variables["slow"]["params"],
        {name: variables["params"][name] for name in slow},
    )
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                OBJECTIVE, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


def test_other_encoders_are_shown_one_lead_at_a_time():
    signal = np.random.default_rng(2).normal(size=(3, 64, 5)).astype(np.float32)
    variables = jax.jit(functools.partial(TINY.init, train=False))(jax.random.key(0), signal)
    leads = draw_leads(TINY, jax.random.key(1), signal, 3)
    assert leads.shape == (3, 3) and all(len(set(row)) == 3 for row in leads.tolist())
    found = jax.jit(
        lambda signal: lead_embeddings(TINY.bind(variables), signal, leads, train=False)
    )(signal)
    alone = np.zeros((3, 3, *signal.shape[1:]), np.float32)
    for recording, row in enumerate(leads):
        for number, lead in enumerate(row):
            alone[recording, number, :, lead] = signal[recording, :, lead]
    embed = jax.jit(lambda signal: TINY.apply(variables, signal, train=False)[1])
    np.testing.assert_allclose(found, embed(alone.reshape(9, 64, 5)).reshape(3, 3, -1), atol=1e-5)
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
