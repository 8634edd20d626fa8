"""The LSTM against flax, and pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.parts.context import Lstm, concat_pool


def _gates(cell, letter, part):
    """Joins flax's four matrices or biases of a cell, which are one matrix or bias here."""
    return np.concatenate([cell[f"{letter}{gate}"][part] for gate in "ifgo"], axis=-1)


def _joined(cell):
    return {
        "input": _gates(cell, "i", "kernel"),
        "recurrent": _gates(cell, "h", "kernel"),
        "bias": _gates(cell, "h", "bias"),
    }


def _outputs_and_gradients(layer, params, hidden):
    """Returns outputs and gradients with respect to parameters and inputs."""

    def apply(params, hidden):
        return layer.apply({"params": params}, hidden)

    cotangent = np.random.default_rng(2).normal(size=(3, 20, 4)).astype(np.float32)
    outputs, gradients = jax.jit(lambda *inputs: jax.vjp(apply, *inputs))(params, hidden)
    return outputs, *gradients(cotangent)


@pytest.fixture(scope="module")
def lstm():
    """Parameters and inputs, and flax's outputs and gradients for them."""
    hidden = np.random.default_rng(0).normal(size=(3, 20, 5)).astype(np.float32)
    reference = nn.RNN(nn.OptimizedLSTMCell(4))
    cell = jax.jit(reference.init)(jax.random.key(0), hidden)["params"]["cell"]
    bias = np.random.default_rng(1).normal(size=16).astype(np.float32)
    for gate, part in zip("ifgo", np.split(bias, 4), strict=True):
        cell[f"h{gate}"]["bias"] = part
    with jax.numpy_rank_promotion("allow"):
        outputs, gradients, input_gradient = _outputs_and_gradients(
            reference, {"cell": cell}, hidden
        )
    return _joined(cell), hidden, (outputs, _joined(gradients["cell"]), input_gradient)


def test_lstm_equals_flax(lstm):
    params, hidden, (outputs, gradients, input_gradient) = lstm
    results = _outputs_and_gradients(Lstm(4), params, hidden)
    np.testing.assert_allclose(results[0], outputs, atol=1e-6)
    np.testing.assert_allclose(results[2], input_gradient, atol=1e-5)
    for name, expected in gradients.items():
        np.testing.assert_allclose(results[1][name], expected, atol=1e-5, err_msg=name)


def test_lstm_in_bfloat16_is_accurate_and_returns_float32(lstm):
    params, hidden, (outputs, gradients, _) = lstm
    half, half_gradients, _ = _outputs_and_gradients(Lstm(4, "bfloat16"), params, hidden)
    assert half.dtype == jnp.float32 and 1e-6 < np.abs(half - outputs).max() < 0.05
    for name, gradient in half_gradients.items():
        assert gradient.dtype == jnp.float32
        error = np.abs(gradient - gradients[name]).max()
        assert 1e-6 < error < 0.05 * np.abs(gradients[name]).max(), name


def test_pool_joins_last_token_maximum_and_mean():
    tokens = jnp.array([[[1.0, 5.0], [4.0, 0.0], [1.0, 1.0]]])
    assert concat_pool(tokens).tolist() == [[1, 1, 4, 5, 2, 2]]
