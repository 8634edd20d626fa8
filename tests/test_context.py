"""The layers of encoders with a context."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.context import Lstm, concat_pool


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
    with jax.numpy_rank_promotion("allow"):
        expected = jax.jit(reference.apply)({"params": {"cell": theirs}}, hidden)
    found = jax.jit(Lstm(4).apply)({"params": params}, hidden)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    half = jax.jit(Lstm(4, "bfloat16").apply)({"params": params}, hidden)
    assert half.dtype == jnp.float32 and 1e-6 < np.abs(half - expected).max() < 0.05


def test_pool_joins_last_largest_and_mean():
    tokens = jnp.array([[[1.0, 5.0], [4.0, 0.0], [1.0, 1.0]]])
    assert concat_pool(tokens).tolist() == [[1, 1, 4, 5, 2, 2]]
