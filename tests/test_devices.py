"""Fourier transforms of a split batch: each device transforms its own recordings only."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.parts.convolution import GroupedConv
from ecgjax.encoders.s4 import StateSpaces
from ecgjax.preprocessing import band_pass
from ecgjax.train.sharding import data_mesh, replicated, split


class Filter(nn.Module):
    """The band-pass filter as a module."""

    def __call__(self, signal):
        return band_pass(signal, (0.67, 40.0), rate_hz=100.0)


MODULES = {
    "s4": StateSpaces(states=4),
    "grouped convolution": GroupedConv(8, kernel_size=5, groups=2),
    "filter": Filter(),
}


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_no_device_gets_recordings_of_another(module):
    signal = np.random.default_rng(0).normal(size=(16, 50, 8)).astype(np.float32)
    variables = module.init(jax.random.key(0), signal[:1])
    mesh = data_mesh()

    def step(context):
        def loss(variables, signal):
            with context:
                return jnp.square(module.apply(variables, signal)).mean()

        return jax.value_and_grad(loss, argnums=(0, 1))

    plain = jax.jit(step(contextlib.nullcontext()))(variables, signal)
    as_in_a_step = step(jax.sharding.use_abstract_mesh(mesh.abstract_mesh))
    shardings = (replicated(mesh), split(mesh))
    compiled = jax.jit(as_in_a_step, in_shardings=shardings).lower(variables, signal).compile()
    value, gradients = compiled(*map(jax.device_put, (variables, signal), shardings))
    assert "all-gather" not in compiled.as_text() and "all-reduce" in compiled.as_text()
    assert gradients[1].sharding.is_equivalent_to(split(mesh), 3)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, (value, gradients), plain)


@pytest.mark.parametrize("rows", [3, 12])
def test_rows_that_do_not_divide_by_the_devices_are_computed_too(rows):
    signal = np.random.default_rng(0).normal(size=(rows, 50, 2)).astype(np.float32)
    with jax.sharding.use_abstract_mesh(data_mesh().abstract_mesh):
        filtered = jax.jit(lambda signal: band_pass(signal, (0.67, 40.0), rate_hz=100.0))(signal)
    expected = band_pass(signal, (0.67, 40.0), rate_hz=100.0)
    np.testing.assert_allclose(filtered, expected, atol=1e-5)
