"""Helpers for tests of objectives: one jitted step on one or eight devices, with tiny encoders."""

import dataclasses
import functools

import conftest
import flax.linen as nn
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

Step = tuple[dict, dict, dict]
"""Metrics, gradient, and collections after a step."""


def noise_batch(
    rows: int, *, views: tuple[int, ...] = (), patients: int = 10
) -> dict[str, np.ndarray]:
    """Returns a batch of two-second recordings of noise.

    Returns:
      "signal", int16 [row, *views, 200, 12], and "patient", int32 [row].
    """
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(rows, *views, 200, 12)).astype(np.int16)
    return {"signal": signal, "patient": rng.integers(patients, size=rows).astype(np.int32)}


@functools.cache  # compiled once for all tests of a file; arrays do not change
def init_variables(objective, encoder=TINY, preprocessing: Preprocessing = TWO_SECONDS) -> dict:
    """Returns an objective's initial variables for two-second recordings."""
    signal = jnp.zeros((2, preprocessing.samples, len(preprocessing.leads)))
    return jax.jit(functools.partial(objective.init, encoder))(jax.random.key(0), signal)


def perturb_params(variables: dict) -> dict:
    """Moves the parameters away from their initial values.

    A transformer's initial values are so small that its gradients vanish.
    """
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
    encoder: nn.Module = TINY,
    devices: int = 1,
    preprocessing: Preprocessing = TWO_SECONDS,
) -> Step:
    """Takes the first of three steps on `devices` devices, as the training loop does."""
    loss = functools.partial(objective.loss, encoder, preprocess=Preprocessor(preprocessing, 100.0))
    tx = optax.trace(decay=0.0)  # its state is the last gradient
    mesh = data_mesh(jax.devices()[:devices])
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    stack = place(jax.tree.map(lambda part: part[None], batch), mesh)
    state, metrics = make_step(loss, tx, mesh, num_steps=3)(
        create_state(variables, tx, mesh), stack, key, None
    )
    return jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def check_step(
    objective,
    batch: dict,
    encoder: nn.Module,
    *,
    preprocessing: Preprocessing,
    eight_devices: bool,
) -> Step:
    """Takes a step from perturbed parameters and checks its gradient.

    Args:
      objective: the method.
      batch: a batch of `noise_batch`.
      encoder: the encoder.
      preprocessing: the encoder's input.
      eight_devices: whether to check that eight devices take the same step, which compiles again.

    Returns:
      The step on one device.
    """
    variables = perturb_params(init_variables(objective, encoder, preprocessing))
    take_step = functools.partial(
        first_step, objective, variables, batch, encoder=encoder, preprocessing=preprocessing
    )
    step = take_step()
    check_learns(step)
    if eight_devices:
        check_same_step(step, take_step(devices=8))
    return step


def distance(a, b) -> float:
    """Returns the distance of two trees of arrays, divided by the norm of the second."""
    difference = jax.tree.map(
        lambda x, y: np.asarray(x, np.float64) - np.asarray(y, np.float64), a, b
    )
    size = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(difference)))
    return size / np.sqrt(
        sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(b))
    )


def check_same_step(one: Step, eight: Step) -> None:
    """Checks that the step on eight devices equals the step on one, up to rounding."""
    for name, value in one[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    for part in (1, 2):
        assert not jax.tree.leaves(one[part]) or distance(eight[part], one[part]) < 1e-4


def check_learns(step: Step) -> None:
    """Checks that every parameter has a gradient and that the log would show a collapse."""
    metrics, gradient, _ = step
    assert {"loss", "embedding_std", "embedding_rank"} <= metrics.keys()
    assert metrics["embedding_rank"] > 1
    leaves = flax.traverse_util.flatten_dict(gradient)
    for path, leaf in leaves.items():
        normalisation = path
        if len(path) > 1:
            normalisation = (*path[:-2], path[-2].replace("layer", "norm"), "scale")
        if path[-1] == "bias" and normalisation != path and normalisation in leaves:
            continue  # a normalisation after the layer removes the effect of this bias
        assert np.abs(leaf).max() > (1e-7 if path[0] == "encoder" else 1e-9), path


def numeric_gradient(function, point: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Returns the central differences of a function of one float64 array."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        moved = point.copy()
        moved[index] += step
        above = function(moved)
        moved[index] -= 2 * step
        gradient[index] = (above - function(moved)) / (2 * step)
    return gradient
