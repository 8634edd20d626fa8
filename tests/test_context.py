"""The layers of encoders with a context."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.context import Lstm, concat_pool


def test_lstm_is_flaxs():
    """The same parameters, in one matrix instead of four."""
    hidden = np.random.default_rng(0).normal(size=(3, 20, 5)).astype(np.float32)
    reference = nn.RNN(nn.OptimizedLSTMCell(4))
    theirs = jax.jit(reference.init)(jax.random.key(0), hidden)["params"]["cell"]
    bias = np.random.default_rng(1).normal(size=16).astype(np.float32)
    for gate, part in zip("ifgo", np.split(bias, 4), strict=True):
        theirs[f"h{gate}"]["bias"] = part
    params = {
        "input": np.concatenate([theirs[f"i{gate}"]["kernel"] for gate in "ifgo"], axis=1),
        "recurrent": np.concatenate([theirs[f"h{gate}"]["kernel"] for gate in "ifgo"], axis=1),
        "bias": bias,
    }
    cotangent = np.random.default_rng(2).normal(size=(3, 20, 4)).astype(np.float32)

    def both(layer, params):
        """Outputs and gradients with respect to parameters and inputs."""
        outputs, gradients = jax.jit(
            lambda *given: jax.vjp(lambda p, h: layer.apply({"params": p}, h), *given)
        )(params, hidden)
        return outputs, gradients(cotangent)

    with jax.numpy_rank_promotion("allow"):
        expected, (of_theirs, of_hidden) = both(reference, {"cell": theirs})
    found, (of_params, of_input) = both(Lstm(4), params)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(of_input, of_hidden, atol=1e-5)
    for name, letter, part in (
        ("input", "i", "kernel"),
        ("recurrent", "h", "kernel"),
        ("bias", "h", "bias"),
    ):
        of_gates = [of_theirs["cell"][f"{letter}{gate}"][part] for gate in "ifgo"]
        np.testing.assert_allclose(
            of_params[name], np.concatenate(of_gates, axis=-1), atol=1e-5, err_msg=name
        )
    half, (of_params_in_half, _) = both(Lstm(4, "bfloat16"), params)
    assert half.dtype == jnp.float32 and 1e-6 < np.abs(half - expected).max() < 0.05
    for name, gradient in of_params_in_half.items():
        assert gradient.dtype == jnp.float32
        assert (
            1e-6 < np.abs(gradient - of_params[name]).max() < 0.05 * np.abs(of_params[name]).max()
        ), name


def test_pool_joins_last_largest_and_mean():
    tokens = jnp.array([[[1.0, 5.0], [4.0, 0.0], [1.0, 1.0]]])
    assert concat_pool(tokens).tolist() == [[1, 1, 4, 5, 2, 2]]
