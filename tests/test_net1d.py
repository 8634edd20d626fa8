"""Net1D: values of the published definition, written in NumPy, and the published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import published

from ecgjax.encoders import ENCODERS
from ecgjax.encoders.net1d import Net1d
from ecgjax.workflows.published.layouts import TORCH_UNUSED, net1d_name, to_variables

SMALL = Net1d(stem=4, widths=(4, 10), depths=(2, 1), ratio=0.5, group_width=2, kernel=5)
WIDE = Net1d(stem=2, widths=(4, 8), depths=(1, 1), ratio=1.5, group_width=4, kernel=16)


@pytest.mark.parametrize(("encoder", "leads"), [(SMALL, 12), (WIDE, 1)])
def test_values_are_those_of_the_published_definition(encoder, leads, tmp_path):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(2, 91, leads))
    arrays = published.net1d_arrays(encoder, leads, rng)
    init = functools.partial(encoder.init, train=False)
    shapes = dict(jax.eval_shape(init, jax.random.key(0), signal))
    variables = to_variables(arrays, shapes, net1d_name, TORCH_UNUSED, tmp_path)
    apply = jax.jit(functools.partial(encoder.apply, train=False))
    tokens, embedding = apply(variables, signal.astype(np.float32))
    expected = np.stack([published.net1d(encoder, arrays, recording) for recording in signal])
    np.testing.assert_allclose(tokens, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(embedding, expected.mean(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "leads", "text"),
    [("net1d", 1, "448 K"), ("net1d_ecgfounder", 12, "30.7 M")],
)
def test_number_of_parameters_is_the_published_one(name, leads, text):
    encoder = ENCODERS[name]
    arrays = published.net1d_arrays(encoder, leads, np.random.default_rng(0))
    # The published counts include batch normalisation that the published encoders do not apply.
    count = sum(values.size for name, values in arrays.items() if name.endswith(("weight", "bias")))
    assert text == (f"{count / 1e6:.1f} M" if count > 1e6 else f"{count / 1e3:.0f} K")
    init = functools.partial(encoder.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 5000, leads)))["params"]
    used = [values.size for name, values in arrays.items() if "bn" not in name]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == sum(used)
