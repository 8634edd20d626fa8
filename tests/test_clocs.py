"""CLOCS: its loss against loops over the paper's sums, its views, and flat leads."""

import functools

import jax
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    TWO_SECONDS,
    check_learns,
    check_same_step,
    first_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.errors import InputError
from ecgjax.objectives.clocs import Clocs, clocs_loss
from ecgjax.preprocessing import Preprocessor
from ecgjax.signals import LEADS

BATCH = noise_batch(16)
REPEATED = np.array([4, 2, 4, 7, 4, 2])
ALL_DIFFERENT = np.arange(6)


def _pair_reference(rows, columns, patients, temperature):
    """The loss of two views, unit vectors [recording, width]: entry by entry, in float64."""
    entries = np.exp(rows @ columns.T / temperature)
    same_recording = []
    same_patient = []
    for i, j in np.ndindex(entries.shape):
        shares = [entries[i, j] / entries[i].sum(), entries[i, j] / entries[:, j].sum()]
        if i == j:
            same_recording += shares
        elif patients[i] == patients[j]:
            same_patient += shares
    groups = [group for group in (same_recording, same_patient) if group]
    return np.mean([-np.log(group).mean() for group in groups])


def _reference(views, patients, temperature):
    unit = views / np.linalg.norm(views, axis=-1, keepdims=True)
    kinds = views.shape[1]
    return np.mean(
        [
            _pair_reference(unit[:, a], unit[:, b], patients, temperature)
            for a in range(kinds)
            for b in range(a + 1, kinds)
        ]
    )


@pytest.mark.parametrize("patients", [REPEATED, ALL_DIFFERENT])
@pytest.mark.parametrize("kinds", [2, 3])
def test_loss_and_gradient_equal_a_plain_loop(patients, kinds):
    views = np.random.default_rng(kinds).normal(size=(6, kinds, 3))
    loss = functools.partial(clocs_loss, patients=patients, temperature=0.3)
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(views.astype(np.float32))
    np.testing.assert_allclose(value, _reference(views, patients, 0.3), rtol=1e-5)
    expected = numeric_gradient(lambda views: _reference(views, patients, 0.3), views, 1e-5)
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_the_gradient_of_a_zero_view_is_finite():
    """The published code divides by its norm and gets not-a-number (danikiyasseh/CLOCS, issue
    1)."""
    views = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    views[0, 0] = 0
    gradient = jax.jit(jax.grad(lambda views: clocs_loss(views, REPEATED, temperature=0.1)[0]))
    assert np.isfinite(gradient(views)).all()


def test_views_are_halves_leads_or_both():
    recordings = np.random.default_rng(0).normal(size=(3, 21, 12)).astype(np.float32)
    halves = Clocs().views(recordings, LEADS)
    np.testing.assert_array_equal(halves[:, 0], recordings[:, :10])
    np.testing.assert_array_equal(halves[:, 1], recordings[:, 10:20])
    leads = np.asarray(Clocs(kind="cmlc").views(recordings, LEADS))
    assert leads.shape == (3, 4, 21, 12)
    for view, lead in enumerate(("II", "V2", "aVL", "aVR")):
        column = LEADS.index(lead)
        np.testing.assert_array_equal(leads[:, view, :, column], recordings[..., column])
        assert (np.delete(leads[:, view], column, axis=-1) == 0).all()
    both = Clocs(kind="cmsmlc", view_leads=("II", "V2")).views(recordings, LEADS)
    np.testing.assert_array_equal(both[:, 3, :, 7], recordings[:, 10:20, 7])
    assert both.shape == (3, 4, 10, 12)


@pytest.mark.parametrize("settings", [{}, {"lead_mask": 0.0}, {"kind": "cmsmlc"}], ids=str)
def test_eight_devices_take_the_step_of_one(settings):
    objective = Clocs(view_leads=("II", "V2"), **settings)
    variables = init_variables(objective)
    one = first_step(objective, variables, BATCH, devices=1)
    check_same_step(one, first_step(objective, variables, BATCH, devices=8))
    check_learns(one)


def test_random_lead_masking_makes_equal_halves_differ():
    """The halves of a periodic recording are equal, and so are their embeddings if no lead is
    masked."""
    periodic = np.tile(noise_batch(16)["signal"][:, :100], (1, 2, 1))

    def accuracy(objective):
        step = first_step(objective, init_variables(objective), {**BATCH, "signal": periodic})
        return float(step[0]["pair_accuracy"])

    assert accuracy(Clocs(lead_mask=0.0)) == 1
    assert accuracy(Clocs(lead_mask=0.9)) < 1


def test_the_loss_depends_on_the_patients():
    objective = Clocs()
    loss = jax.jit(
        functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    )
    values = [
        float(loss(init_variables(objective), {**BATCH, "patient": patients}, jax.random.key(0))[0])
        for patients in (np.arange(16), np.zeros(16, int), BATCH["patient"])
    ]
    assert len(set(values)) == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lead_mask": 1.0}, "lead_mask 1.0: give a probability"),
        ({"projection": (8, 0)}, "projection .8, 0.: give the widths of its layers"),
        ({"temperature": -1}, "temperature -1"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"kind": "cmlc", "view_leads": ("II",)}, "view-leads II: cmlc needs"),
        ({"kind": "cmlc", "view_leads": ("II", "II")}, "view-leads II II: cmlc needs"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Clocs(**wrong)


def test_view_leads_that_the_recordings_lack_are_refused():
    with pytest.raises(InputError, match="view-leads V2: not among the encoder's leads, I II"):
        Clocs(kind="cmlc", view_leads=("II", "V2")).views(np.zeros((1, 20, 2)), ("I", "II"))
