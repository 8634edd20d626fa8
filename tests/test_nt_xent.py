"""NT-Xent against a loop over pairs and against optax: in pieces, with a queue, split over devices; and its memory."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ecgjax.objectives.parts import nt_xent as module
from ecgjax.objectives.parts.nt_xent import NOBODY, nt_xent
from ecgjax.tpu import hlo
from ecgjax.train.sharding import data_mesh, split

_RNG = np.random.default_rng(0)
PROJECTIONS = _RNG.normal(size=(6, 2, 5)).astype(np.float32)
ALL_DIFFERENT = np.arange(6)
REPEATED = np.array([7, 3, 7, 1, 7, 3])


QUEUE = _RNG.normal(size=(9, 5)) / 3
QUEUE_PATIENTS = np.array([3, 9, 0, NOBODY, 1, 7, 12, NOBODY, 3])


def _reference(
    projections, patients, temperature, queue=QUEUE[:0], queue_patients=QUEUE_PATIENTS[:0]
):
    """Loss and its gradient in float64, one view after the other, from the definition."""
    z = projections.astype(np.float64).reshape(-1, projections.shape[-1])
    patients = np.repeat(patients, 2)
    norms = np.linalg.norm(z, axis=1)
    u, n = z / norms[:, None], len(z)
    loss, gradient_u = 0.0, np.zeros_like(u)
    for i in range(n):
        partner = i ^ 1
        candidates = [partner]
        for j in range(n):
            if patients[j] != patients[i]:
                candidates.append(j)
        waiting = [k for k, p in enumerate(queue_patients) if p != NOBODY and p != patients[i]]
        weights = np.array([math.exp(u[i] @ u[j] / temperature) for j in candidates])
        further = np.array([math.exp(u[i] @ queue[k] / temperature) for k in waiting])
        total = weights.sum() + further.sum()
        loss -= math.log(weights[0] / total) / n
        for k, share in zip(waiting, further / total, strict=True):
            gradient_u[i] += share / (n * temperature) * queue[k]
        for j, share in zip(candidates, weights / total, strict=True):
            slope = (share - (j == partner)) / (n * temperature)
            gradient_u[i] += slope * u[j]
            gradient_u[j] += slope * u[i]
    radial = (gradient_u * u).sum(1, keepdims=True)
    return loss, ((gradient_u - radial * u) / norms[:, None]).reshape(projections.shape)


@pytest.mark.parametrize("at_once", [1, 5, 12, 512])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("patients", [ALL_DIFFERENT, REPEATED])
def test_value_and_gradient_equal_a_plain_loop(patients, temperature, at_once, monkeypatch):
    monkeypatch.setattr(module, "COLUMNS_AT_ONCE", at_once)
    loss = functools.partial(nt_xent, patients=jnp.asarray(patients), temperature=temperature)
    (found, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(PROJECTIONS)
    expected, expected_gradient = _reference(PROJECTIONS, patients, temperature)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_equals_optax_where_no_patient_repeats():
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(optax.losses.ntxent)(
            PROJECTIONS.reshape(12, 5), np.repeat(ALL_DIFFERENT, 2), 0.2
        )
    found, _ = jax.jit(nt_xent)(PROJECTIONS, ALL_DIFFERENT, temperature=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_patient_is_not_repelled_from_herself():
    """Three pairs of one patient: nothing is left to repel, so there is nothing to learn."""
    loss = jax.value_and_grad(
        lambda projections: nt_xent(projections, np.array([5, 5, 5]), temperature=0.5)[0]
    )
    value, gradient = jax.jit(loss)(PROJECTIONS[:3])
    assert value == 0 and (gradient == 0).all()


def test_share_of_views_nearest_to_their_partner():
    unit, hit_rate = (
        np.eye(4, dtype=np.float32),
        jax.jit(lambda z: nt_xent(z, np.arange(4), temperature=0.1)[1]),
    )
    assert hit_rate(np.stack([unit, unit], axis=1)) == 1
    assert hit_rate(np.stack([unit, unit[[1, 0, 2, 3]]], axis=1)) == 0.5


@pytest.mark.parametrize("at_once", [4, 512])
@pytest.mark.parametrize("patients", [ALL_DIFFERENT, REPEATED])
def test_queue_adds_negatives_of_other_patients(patients, at_once, monkeypatch):
    monkeypatch.setattr(module, "COLUMNS_AT_ONCE", at_once)
    more = jnp.asarray(QUEUE, jnp.float32), jnp.asarray(QUEUE_PATIENTS)
    loss = functools.partial(nt_xent, patients=jnp.asarray(patients), temperature=0.2, more=more)
    (found, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(PROJECTIONS)
    expected, expected_gradient = _reference(PROJECTIONS, patients, 0.2, QUEUE, QUEUE_PATIENTS)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    assert expected > _reference(PROJECTIONS, patients, 0.2)[0]


def _compiled(views, devices):
    """The loss and its gradient for so many views of 128 dimensions, on so many devices."""
    mesh = data_mesh(jax.devices()[:devices])
    projections = jax.ShapeDtypeStruct((views // 2, 2, 128), jnp.float32, sharding=split(mesh))
    patients = jax.ShapeDtypeStruct((views // 2,), jnp.int32, sharding=split(mesh))
    with jax.set_mesh(mesh):
        loss = jax.value_and_grad(lambda z, p: nt_xent(z, p, temperature=0.1), has_aux=True)
        return (
            jax.jit(loss, out_shardings=(None, split(mesh))).lower(projections, patients).compile()
        )


def test_memory_grows_linearly():
    """32,768 views: the matrix of similarities alone would be 4.3 GB, the naive loss takes 8.6 GB."""
    used = [
        _compiled(views, devices=1).memory_analysis().temp_size_in_bytes
        for views in (16_384, 32_768)
    ]
    assert used[1] < 0.6e9 and used[1] < 2.1 * used[0]


def test_devices_gather_embeddings_and_nothing_larger():
    """Embeddings once, however many pieces they are visited in; besides, single numbers of each view."""
    program = _compiled(8192, devices=8)
    assert program.memory_analysis().temp_size_in_bytes < 8192 * 512 * 4 * 4 + 3 * 8192 * 128 * 4
    moved = hlo.read(program.as_text()).collectives
    assert {one.kind for one in moved} == {"all-gather", "all-reduce"}, moved
    assert sum(times for one, times in moved.items() if one.size >= 8192 * 128 * 4) == 1, moved
    assert sum(one.size * times for one, times in moved.items()) <= (8192 * 128 + 4 * 8192) * 4, (
        moved
    )


def test_eight_devices_have_the_loss_and_gradient_of_one():
    rng = np.random.default_rng(3)
    projections, patients = (
        rng.normal(size=(512, 2, 128)).astype(np.float32),
        rng.integers(300, size=512),
    )
    found = [
        _compiled(1024, devices)(
            *jax.device_put(
                (projections, patients.astype(np.int32)), split(data_mesh(jax.devices()[:devices]))
            )
        )
        for devices in (1, 8)
    ]
    np.testing.assert_allclose(found[1][0][0], found[0][0][0], rtol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5, atol=1e-8)
