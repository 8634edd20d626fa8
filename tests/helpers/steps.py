"""One step of the real jitted function on one device or eight, with tiny encoders: for the tests of objectives."""

import dataclasses
import functools

import conftest
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from conftest import TINY

from ecgjax.encoders.vit1d import Vit1d
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step

TINY_VIT = Vit1d(width=8, layers=1, heads=2, patch=10)
TINY_LEAD_VIT = Vit1d(width=8, layers=1, heads=2, patch=20, lead_patches=True, separators=True)
TWO_SECONDS = Preprocessing(seconds=2.0)
FOUR_LEADS = Preprocessing(seconds=2.0, leads=("I", "II", "V1", "V5"))
CROPS = dataclasses.replace(conftest.CROPS, crop_s=1.0)


def noise_batch(
    rows: int, *, views: tuple[int, ...] = (), patients: int = 10
) -> dict[str, np.ndarray]:
    """A batch of two-second recordings of noise: signal int16 [row, *views, 200, 12], patient int32 [row]."""
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(rows, *views, 200, 12)).astype(np.int16)
    return {"signal": signal, "patient": rng.integers(patients, size=rows).astype(np.int32)}


@functools.cache  # compiled once for all tests of a file; arrays do not change
def initial(objective, encoder=TINY, preprocessing: Preprocessing = TWO_SECONDS) -> dict:
    """An objective's variables for two-second recordings."""
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))
    return jax.jit(functools.partial(objective.init, encoder))(jax.random.key(0), signal)


def lively(variables: dict) -> dict:
    """Parameters away from their initial values, which are so small in a transformer that gradients vanish."""
    rng = np.random.default_rng(3)
    moved = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.2, leaf.shape).astype(np.float32), variables["params"]
    )
    return {**variables, "params": moved}


def first_step(
    objective,
    variables: dict,
    batch: dict,
    *,
    encoder=TINY,
    devices: int = 1,
    preprocessing=TWO_SECONDS,
) -> tuple[dict, dict, dict]:
    """The first of three steps, as the loop takes it on so many devices: metrics, gradient, collections after it."""
    loss = functools.partial(objective.loss, encoder, preprocess=Preprocessor(preprocessing, 100.0))
    tx, mesh = (
        optax.trace(decay=0.0),
        data_mesh(jax.devices()[:devices]),
    )  # its state is the last gradient
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    stack = place(jax.tree.map(lambda part: part[None], batch), mesh)
    state, metrics = make_step(loss, tx, mesh, num_steps=3)(
        create_state(variables, tx, mesh), stack, key, None
    )
    return jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def distance(a, b) -> float:
    """Of two trees of arrays, relative to the second."""
    difference = jax.tree.map(
        lambda x, y: np.asarray(x, np.float64) - np.asarray(y, np.float64), a, b
    )
    size = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(difference)))
    return size / np.sqrt(
        sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(b))
    )


def check_equal(one: tuple[dict, dict, dict], eight: tuple[dict, dict, dict]) -> None:
    """The step on eight devices is that on one, up to rounding."""
    for name, value in one[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    for part in (1, 2):
        assert not jax.tree.leaves(one[part]) or distance(eight[part], one[part]) < 1e-4


def check_learns(step: tuple[dict, dict, dict]) -> None:
    """The gradient reaches every parameter, the encoder's and the heads', and the log would show a collapse."""
    assert {"loss", "embedding_std", "embedding_rank"} <= step[0].keys() and step[0][
        "embedding_rank"
    ] > 1
    gradient = flax.traverse_util.flatten_dict(step[1])
    for path, leaf in gradient.items():
        normalisation = (
            (*path[:-2], path[-2].replace("layer", "norm"), "scale") if len(path) > 1 else path
        )
        if path[-1] == "bias" and normalisation != path and normalisation in gradient:
            continue  # a normalisation takes away what this bias adds
        assert np.abs(leaf).max() > (1e-7 if path[0] == "encoder" else 1e-9), path


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
