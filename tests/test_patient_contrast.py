"""NT-Xent against a loop over pairs and against optax; the whole objective on one device and on eight."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY

from ecgjax.augment import Augmentation
from ecgjax.objectives.patient_contrast import PatientContrast, nt_xent
from ecgjax.signals import Preprocessing
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step

_RNG = np.random.default_rng(0)
PROJECTIONS = _RNG.normal(size=(12, 5)).astype(np.float32)
ALL_DIFFERENT = np.arange(6)
REPEATED = np.array([7, 3, 7, 1, 7, 3])


def _reference(projections, patients, temperature):
    """Loss and its gradient in float64, one view after the other, from the definition."""
    z = projections.astype(np.float64)
    norms = np.linalg.norm(z, axis=1)
    u, n = z / norms[:, None], len(z)
    loss, gradient_u = 0.0, np.zeros_like(u)
    for i in range(n):
        partner = (i + n // 2) % n
        candidates = [partner]
        for j in range(n):
            if patients[j % (n // 2)] != patients[i % (n // 2)]:
                candidates.append(j)
        weights = np.array([math.exp(u[i] @ u[j] / temperature) for j in candidates])
        loss -= math.log(weights[0] / weights.sum()) / n
        for j, share in zip(candidates, weights / weights.sum(), strict=True):
            slope = (share - (j == partner)) / (n * temperature)
            gradient_u[i] += slope * u[j]
            gradient_u[j] += slope * u[i]
    radial = (gradient_u * u).sum(1, keepdims=True)
    return loss, (gradient_u - radial * u) / norms[:, None]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("patients", [ALL_DIFFERENT, REPEATED])
def test_value_and_gradient_equal_a_plain_loop(patients, temperature):
    loss = functools.partial(nt_xent, patients=jnp.asarray(patients), temperature=temperature)
    (found, _), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(PROJECTIONS)
    expected, expected_gradient = _reference(PROJECTIONS, patients, temperature)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


def test_equals_optax_where_no_patient_repeats():
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(optax.losses.ntxent)(PROJECTIONS, np.tile(ALL_DIFFERENT, 2), 0.2)
    found, _ = jax.jit(nt_xent)(PROJECTIONS, ALL_DIFFERENT, temperature=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_patient_is_not_repelled_from_herself():
    """Three pairs of one patient: nothing is left to repel, so there is nothing to learn."""
    loss = jax.value_and_grad(lambda projections: nt_xent(projections, np.array([5, 5, 5]), temperature=0.5)[0])
    value, gradient = jax.jit(loss)(PROJECTIONS[:6])
    assert value == 0 and (gradient == 0).all()


def test_share_of_views_nearest_to_their_partner():
    unit, hit_rate = (
        np.eye(4, dtype=np.float32),
        jax.jit(lambda z: nt_xent(z, np.arange(4), temperature=0.1)[1]),
    )
    assert hit_rate(np.concatenate([unit, unit])) == 1
    assert hit_rate(np.concatenate([unit, unit[[1, 0, 2, 3]]])) == 0.5


OBJECTIVE = PatientContrast(projection=(16, 8), augmentation=Augmentation(crop_s=1.0))
PREPROCESSING = Preprocessing(seconds=2.0)
LOSS = functools.partial(OBJECTIVE.loss, TINY, preprocessing=PREPROCESSING, rate_hz=100.0)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(functools.partial(OBJECTIVE.init, TINY))(jax.random.key(0), jnp.zeros((2, 200, 12)))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(16, 2, 200, 12)).astype(np.int16)
    return {"signal": signal, "patient": rng.integers(10, size=16).astype(np.int32)}


@pytest.fixture(scope="module")
def steps(variables, batch):
    """One step of the real jitted function by number of devices: metrics, gradient, batch statistics."""
    tx, done = optax.trace(decay=0.0), {}  # its state is the last gradient
    for devices in (1, 8):
        mesh = data_mesh(jax.devices()[:devices])
        key = jax.device_put(jax.random.key(2), replicated(mesh))
        state, metrics = make_step(LOSS, tx, mesh)(create_state(variables, tx, mesh), place(batch, mesh), key)
        done[devices] = metrics, state.opt_state.trace, state.collections["batch_stats"]
    return done


def test_eight_devices_have_the_loss_of_one(steps):
    for name, value in steps[1][0].items():
        np.testing.assert_allclose(steps[8][0][name], value, rtol=1e-6, atol=2e-7, err_msg=name)


def _distance(a, b) -> float:
    """Of two trees, relative to the second."""
    difference = jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b)
    return float(optax.tree.norm(difference) / optax.tree.norm(jax.tree.map(np.asarray, b)))


def test_eight_devices_have_the_gradient_and_statistics_of_one(steps):
    assert _distance(steps[8][1], steps[1][1]) < 1e-5
    assert _distance(steps[8][2], steps[1][2]) < 1e-6
    for path, leaf in jax.tree.leaves_with_path(steps[1][1]):
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.fixture(scope="module")
def jitted_loss():
    return jax.jit(LOSS)


def test_views_depend_on_the_key(jitted_loss, variables, batch):
    first, again, other = (jitted_loss(variables, batch, jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert first == again != other


def test_collapsed_embeddings_show(jitted_loss, variables, batch):
    """All views with one embedding: no spread, and the loss of guessing among those that are not masked."""
    head = variables["params"]["projector2"]
    dead = {"kernel": jnp.zeros_like(head["kernel"]), "bias": jnp.ones_like(head["bias"])}
    collapsed = {**variables, "params": {**variables["params"], "projector2": dead}}
    loss, (metrics, _) = jitted_loss(collapsed, batch, jax.random.key(0))
    owner = np.tile(batch["patient"], 2)
    choices = (owner[:, None] != owner[None, :]).sum(1) + 1
    assert abs(metrics["embedding_spread"]) < 1e-6 and metrics["positive_cosine"] > 1 - 1e-6
    np.testing.assert_allclose(loss, np.log(choices).mean(), rtol=1e-5)
    _, (alive, _) = jitted_loss(variables, batch, jax.random.key(0))
    assert alive["embedding_spread"] > 0.01
