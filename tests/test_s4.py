"""State spaces: the convolution is the recurrence it stands for."""

import jax
import numpy as np

from ecgjax.encoders.s4 import StateSpaces


def _reference(params, hidden):
    """In float64: each channel's states, step by step, driven by the channel."""
    (time, width), params = (
        hidden.shape,
        {name: np.asarray(leaf, np.float64) for name, leaf in params.items()},
    )
    poles = (-np.exp(params["log_decay"]) + 1j * params["frequency"]).reshape(width, -1)
    held = np.exp(poles * np.exp(params["log_step"])[:, None])
    entering = (held - 1) / poles
    readout = params["readout"][0] + 1j * params["readout"][1]
    state, out = np.zeros(poles.shape, complex), np.empty((time, width))
    for step in range(time):
        state = held * state + entering * hidden[step][:, None]
        out[step] = 2 * (readout * state).sum(1).real + params["passed"] * hidden[step]
    return out


def test_convolution_is_the_recurrence():
    layer, hidden = (
        StateSpaces(states=6),
        np.random.default_rng(0).normal(size=(2, 301, 5)).astype(np.float32),
    )
    variables = jax.jit(layer.init)(jax.random.key(0), hidden)
    found = jax.jit(layer.apply)(variables, hidden)
    expected = np.stack([_reference(variables["params"], one) for one in hidden.astype(np.float64)])
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_dynamics_are_not_decayed():
    """The optimizer leaves what has one axis alone."""
    shapes = jax.eval_shape(
        StateSpaces(states=8).init, jax.random.key(0), np.zeros((1, 9, 3), np.float32)
    )["params"]
    assert {name for name, leaf in shapes.items() if leaf.ndim > 1} == {"readout"}
