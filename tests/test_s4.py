"""State spaces: the convolution equals the recurrence."""

import jax
import numpy as np

from ecgjax.encoders.s4 import StateSpaces


def _recurrence(params, hidden):
    """Returns the output of the recurrence in float64: each channel's states, step by step."""
    time, width = hidden.shape
    params = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    poles = (-np.exp(params["log_decay"]) + 1j * params["frequency"]).reshape(width, -1)
    decay = np.exp(poles * np.exp(params["log_step"])[:, None])
    gain = (decay - 1) / poles
    readout = params["readout"][0] + 1j * params["readout"][1]
    state = np.zeros(poles.shape, complex)
    output = np.empty((time, width))
    for step in range(time):
        state = decay * state + gain * hidden[step][:, None]
        output[step] = 2 * (readout * state).sum(1).real + params["passed"] * hidden[step]
    return output


def test_convolution_equals_the_recurrence():
    layer = StateSpaces(states=6)
    hidden = np.random.default_rng(0).normal(size=(2, 301, 5)).astype(np.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), hidden)
    output = jax.jit(layer.apply)(variables, hidden)
    recordings = hidden.astype(np.float64)
    expected = np.stack([_recurrence(variables["params"], signal) for signal in recordings])
    np.testing.assert_allclose(output, expected, atol=2e-5 * np.abs(expected).max())


def test_the_dynamics_have_no_weight_decay():
    """The optimizer applies no weight decay to parameters with one axis."""
    layer = StateSpaces(states=8)
    signal = np.zeros((1, 9, 3), np.float32)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), signal)["params"]
    assert {name for name, leaf in shapes.items() if leaf.ndim > 1} == {"readout"}
