"""NT-Xent against a plain loop and optax: in chunks, with a queue, over devices; and its memory."""

import doctest
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ecgjax.objectives.parts import nt_xent as module
from ecgjax.objectives.parts.nt_xent import NO_PATIENT, nt_xent
from ecgjax.tpu import hlo
from ecgjax.train.sharding import data_mesh, split

_RNG = np.random.default_rng(0)
PROJECTIONS = _RNG.normal(size=(6, 2, 5)).astype(np.float32)
ALL_DIFFERENT = np.arange(6)
REPEATED = np.array([7, 3, 7, 1, 7, 3])

QUEUE = _RNG.normal(size=(9, 5)) / 3
QUEUE_PATIENTS = np.array([3, 9, 0, NO_PATIENT, 1, 7, 12, NO_PATIENT, 3])


def _reference(
    projections, patients, temperature, queue=QUEUE[:0], queue_patients=QUEUE_PATIENTS[:0]
):
    """The loss and its gradient by the definition, in float64, one view after the other."""
    z = projections.astype(np.float64).reshape(-1, projections.shape[-1])
    patients = np.repeat(patients, 2)
    norms = np.linalg.norm(z, axis=1)
    u = z / norms[:, None]
    n = len(z)
    loss = 0.0
    gradient_u = np.zeros_like(u)
    for i in range(n):
        partner = i ^ 1
        candidates = [partner]
        for j in range(n):
            if patients[j] != patients[i]:
                candidates.append(j)
        queued = [k for k, p in enumerate(queue_patients) if p not in (NO_PATIENT, patients[i])]
        weights = np.array([math.exp(u[i] @ u[j] / temperature) for j in candidates])
        queue_weights = np.array([math.exp(u[i] @ queue[k] / temperature) for k in queued])
        total = weights.sum() + queue_weights.sum()
        loss -= math.log(weights[0] / total) / n
        for k, share in zip(queued, queue_weights / total, strict=True):
            gradient_u[i] += share / (n * temperature) * queue[k]
        for j, share in zip(candidates, weights / total, strict=True):
            slope = (share - (j == partner)) / (n * temperature)
            gradient_u[i] += slope * u[j]
            gradient_u[j] += slope * u[i]
    radial = (gradient_u * u).sum(1, keepdims=True)
    return loss, ((gradient_u - radial * u) / norms[:, None]).reshape(projections.shape)


def test_the_example_in_the_docstring_is_right():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("chunk", [1, 5, 12, 512])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("patients", [ALL_DIFFERENT, REPEATED])
def test_value_and_gradient_equal_a_plain_loop(patients, temperature, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_COLUMNS", chunk)
    loss = functools.partial(nt_xent, patients=jnp.asarray(patients), temperature=temperature)
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(PROJECTIONS)
    expected, expected_gradient = _reference(PROJECTIONS, patients, temperature)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_the_loss_equals_optax_if_no_patient_repeats():
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(optax.losses.ntxent)(
            PROJECTIONS.reshape(12, 5), np.repeat(ALL_DIFFERENT, 2), 0.2
        )
    loss, _ = jax.jit(nt_xent)(PROJECTIONS, ALL_DIFFERENT, temperature=0.2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_recordings_of_the_same_patient_are_not_negatives():
    """Three pairs of one patient have no negatives, so there is nothing to learn."""
    loss = jax.value_and_grad(
        lambda projections: nt_xent(projections, np.array([5, 5, 5]), temperature=0.5)[0]
    )
    value, gradient = jax.jit(loss)(PROJECTIONS[:3])
    assert value == 0
    assert (gradient == 0).all()


def test_accuracy_is_the_share_of_views_nearest_to_their_partner():
    unit = np.eye(4, dtype=np.float32)
    hit_rate = jax.jit(lambda z: nt_xent(z, np.arange(4), temperature=0.1)[1])
    assert hit_rate(np.stack([unit, unit], axis=1)) == 1
    assert hit_rate(np.stack([unit, unit[[1, 0, 2, 3]]], axis=1)) == 0.5


@pytest.mark.parametrize("chunk", [4, 512])
@pytest.mark.parametrize("patients", [ALL_DIFFERENT, REPEATED])
def test_a_queue_adds_negatives_of_other_patients(patients, chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_COLUMNS", chunk)
    queue = (jnp.asarray(QUEUE, jnp.float32), jnp.asarray(QUEUE_PATIENTS))
    loss = functools.partial(
        nt_xent, patients=jnp.asarray(patients), temperature=0.2, queue_negatives=queue
    )
    (value, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(PROJECTIONS)
    expected, expected_gradient = _reference(PROJECTIONS, patients, 0.2, QUEUE, QUEUE_PATIENTS)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    assert expected > _reference(PROJECTIONS, patients, 0.2)[0]


def _compiled(views, devices):
    """The compiled loss and gradient of `views` views of 128 dimensions on `devices` devices."""
    mesh = data_mesh(jax.devices()[:devices])
    projections = jax.ShapeDtypeStruct((views // 2, 2, 128), jnp.float32, sharding=split(mesh))
    patients = jax.ShapeDtypeStruct((views // 2,), jnp.int32, sharding=split(mesh))
    with jax.set_mesh(mesh):
        loss = jax.value_and_grad(lambda z, p: nt_xent(z, p, temperature=0.1), has_aux=True)
        jitted = jax.jit(loss, out_shardings=(None, split(mesh)))
        return jitted.lower(projections, patients).compile()


def test_memory_grows_linearly():
    """32,768 views: the similarity matrix alone would be 4.3 GB; the naive loss takes 8.6 GB."""
    used = [
        _compiled(views, devices=1).memory_analysis().temp_size_in_bytes
        for views in (16_384, 32_768)
    ]
    assert used[1] < 0.6e9
    assert used[1] < 2.1 * used[0]


def test_devices_gather_the_embeddings_once_and_nothing_larger():
    """Apart from the embeddings, only single numbers per view are exchanged."""
    program = _compiled(8192, devices=8)
    assert program.memory_analysis().temp_size_in_bytes < 8192 * 512 * 4 * 4 + 3 * 8192 * 128 * 4
    collectives = hlo.parse_program(program.as_text()).collectives
    assert {one.kind for one in collectives} == {"all-gather", "all-reduce"}, collectives
    large = sum(times for one, times in collectives.items() if one.size >= 8192 * 128 * 4)
    assert large == 1, collectives
    total = sum(one.size * times for one, times in collectives.items())
    assert total <= (8192 * 128 + 4 * 8192) * 4, collectives


def test_eight_devices_have_the_loss_and_gradient_of_one():
    rng = np.random.default_rng(3)
    projections = rng.normal(size=(512, 2, 128)).astype(np.float32)
    patients = rng.integers(300, size=512).astype(np.int32)

    def loss_and_gradient(devices):
        sharding = split(data_mesh(jax.devices()[:devices]))
        arguments = jax.device_put((projections, patients), sharding)
        (loss, _), gradient = _compiled(1024, devices)(*arguments)
        return loss, gradient

    one = loss_and_gradient(1)
    eight = loss_and_gradient(8)
    np.testing.assert_allclose(eight[0], one[0], rtol=1e-6)
    np.testing.assert_allclose(eight[1], one[1], rtol=1e-5, atol=1e-8)
