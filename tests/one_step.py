"""One step of the real jitted function, for the tests of the objectives: on one device or eight, with tiny encoders."""

import functools

import jax
import numpy as np
import optax

from ecgjax.encoders.vit1d import Vit1d
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step

PREPROCESSING = Preprocessing(seconds=2.0, leads=("I", "II", "V1", "V5"))
TINY_VIT = Vit1d(width=8, layers=1, heads=2, patch=10)
TINY_LEAD_VIT = Vit1d(width=8, layers=1, heads=2, patch=20, lead_patches=True, separators=True)


def recordings(*shape: int, patients: int = 6) -> dict:
    """A batch of noise: signal int16 [*shape, 200, 12] and patients."""
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(*shape, 200, 12)).astype(np.int16)
    return {"signal": signal, "patient": rng.integers(patients, size=shape[0]).astype(np.int32)}


def initial(objective, encoder) -> dict:
    """Variables for recordings as `PREPROCESSING` makes them."""
    signal = np.zeros((2, PREPROCESSING.samples, len(PREPROCESSING.leads)), np.float32)
    return jax.jit(functools.partial(objective.init, encoder))(jax.random.key(0), signal)


def lively(variables: dict) -> dict:
    """Parameters away from their initial values, which are so small in a transformer that gradients vanish."""
    rng = np.random.default_rng(3)
    moved = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.2, leaf.shape).astype(np.float32), variables["params"])
    return {**variables, "params": moved}


def one_step(objective, encoder, variables: dict, batch: dict, *, devices: int = 1):
    """Metrics, gradient and collections after the first of three steps."""
    tx, mesh = optax.trace(decay=0.0), data_mesh(jax.devices()[:devices])  # its state is the last gradient
    loss = functools.partial(objective.loss, encoder, preprocessing=PREPROCESSING, rate_hz=100.0)
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    stack = place(jax.tree.map(lambda part: part[None], batch), mesh)
    state, metrics = make_step(loss, tx, mesh, num_steps=3)(create_state(variables, tx, mesh), stack, key, None)
    return jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def assert_equal_steps(one, other) -> None:
    """Metrics, gradient and collections of two steps, up to rounding."""
    for name, value in one[0].items():
        np.testing.assert_allclose(other[0][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    for part in (1, 2):
        size = optax.tree.norm(one[part])
        assert optax.tree.norm(jax.tree.map(np.subtract, other[part], one[part])) < 1e-4 * size + 1e-9


def assert_no_leaf_without_gradient(step) -> None:
    """Every parameter, the encoder's and the heads'."""
    for path, leaf in jax.tree.leaves_with_path(step[1]):
        assert np.abs(leaf).max() > 1e-9, jax.tree_util.keystr(path)


def numeric_gradient(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a function of one float64 array."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        moved = at.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        gradient[index] = (above - function(moved)) / (2 * step)
    return gradient
