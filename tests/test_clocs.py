"""CLOCS: its loss against loops over the paper's sums, what its views are, and leads that are flat."""

import functools
import math

import jax
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import TWO_SECONDS, check_equal, check_learns, first_step, initial, noise_batch

from ecgjax.errors import InputError
from ecgjax.objectives.clocs import Clocs, patient_contrast_of_views
from ecgjax.preprocessing import Preprocessor
from ecgjax.signals import LEADS

BATCH = noise_batch(16)
REPEATED, ALL_DIFFERENT = np.array([4, 2, 4, 7, 4, 2]), np.arange(6)


def _reference(views, patients, temperature):
    """In float64, entry by entry."""
    views = views / np.linalg.norm(views, axis=-1, keepdims=True)
    recordings, kinds = views.shape[:2]
    losses = []
    for a in range(kinds):
        for b in range(a + 1, kinds):
            shares = {}
            for i in range(recordings):
                for j in range(recordings):
                    entry = math.exp(views[i, a] @ views[j, b] / temperature)
                    row = sum(
                        math.exp(views[i, a] @ views[k, b] / temperature) for k in range(recordings)
                    )
                    column = sum(
                        math.exp(views[k, a] @ views[j, b] / temperature) for k in range(recordings)
                    )
                    shares[i, j] = [entry / row, entry / column]
            terms = [[share for (i, j), both in shares.items() if i == j for share in both]]
            terms += [
                [
                    s
                    for (i, j), both in shares.items()
                    if i != j and patients[i] == patients[j]
                    for s in both
                ]
            ]
            losses.append(np.mean([-np.log(term).mean() for term in terms if term]))
    return np.mean(losses)


@pytest.mark.parametrize("patients", [REPEATED, ALL_DIFFERENT])
@pytest.mark.parametrize("kinds", [2, 3])
def test_loss_and_gradient_are_those_of_the_loops(patients, kinds):
    views = np.random.default_rng(kinds).normal(size=(6, kinds, 3))
    loss = functools.partial(patient_contrast_of_views, patients=patients, temperature=0.3)
    (found, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(views.astype(np.float32))
    np.testing.assert_allclose(found, _reference(views, patients, 0.3), rtol=1e-5)
    expected = np.zeros_like(views)
    for place in np.ndindex(views.shape):
        step = np.zeros_like(views)
        step[place] = 1e-5
        expected[place] = _reference(views + step, patients, 0.3) - _reference(
            views - step, patients, 0.3
        )
    np.testing.assert_allclose(gradient, expected / 2e-5, atol=2e-5)


def test_a_silent_view_has_a_finite_gradient():
    """The published code divides by its length: not a number from then on (danikiyasseh/CLOCS, issue 1)."""
    views = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    views[0, 0] = 0
    loss = jax.jit(
        jax.grad(lambda views: patient_contrast_of_views(views, REPEATED, temperature=0.1)[0])
    )
    assert np.isfinite(loss(views)).all()


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
    one, eight = (
        first_step(objective, initial(objective), BATCH, devices=devices) for devices in (1, 8)
    )
    check_equal(one, eight)
    check_learns(one)


def test_leads_of_halves_are_silenced_by_chance():
    """Without it the two halves of a recording that repeats itself are the same, and so are their embeddings."""
    twice = np.tile(noise_batch(16)["signal"][:, :100], (1, 2, 1))
    accuracy = [
        float(
            first_step(objective, initial(objective), {**BATCH, "signal": twice})[0][
                "pair_accuracy"
            ]
        )
        for objective in (Clocs(lead_mask=0.0), Clocs(lead_mask=0.9))
    ]
    assert accuracy[0] == 1 > accuracy[1]


def test_patients_decide_what_attracts():
    objective = Clocs()
    loss = jax.jit(
        functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    )
    values = [
        float(loss(initial(objective), {**BATCH, "patient": patients}, jax.random.key(0))[0])
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
    with pytest.raises(InputError, match="view-leads V2: not among the encoder's leads, I II"):
        Clocs(kind="cmlc", view_leads=("II", "V2")).views(np.zeros((1, 20, 2)), ("I", "II"))
