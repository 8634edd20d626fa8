"""The PyTorch twin has the losses and gradients of ecgjax for equal parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders import ENCODERS
from ecgjax.objectives.parts.nt_xent import nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast

torch = pytest.importorskip("torch", reason="the twin needs PyTorch (pip install torch)")
twin = pytest.importorskip("benchmarks.torch_twin", reason="benchmarks/ is not part of the package")


FEWER = {"xresnet1d50": {"depths": (1, 2, 1, 1)}}
"""Settings with fewer blocks of a kind, for both sides: each kind of block remains.
test_every_parameter_has_its_counterpart has all blocks."""


@pytest.mark.parametrize("layout", twin.LAYOUTS)
@pytest.mark.parametrize("name", twin.TWINS)
def test_every_parameter_has_its_counterpart(name, layout):
    init = functools.partial(PatientContrast().network(ENCODERS[name]).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 251, 12)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    twin.load(twin.Projected(name, layout), zeros)


@pytest.fixture(scope="module", params=twin.TWINS)
def reference(request):
    """Name, variables and signal of an encoder, and its loss and gradients in JAX."""
    encoder = ENCODERS[request.param].clone(**FEWER.get(request.param, {}))
    network = PatientContrast().network(encoder)
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(8, 251, 12)).astype(np.float32)
    variables = jax.jit(functools.partial(network.init, train=False))(jax.random.key(0), signal)
    params = jax.tree.map(
        lambda leaf: leaf + rng.normal(0, 0.02, leaf.shape).astype(np.float32), variables["params"]
    )
    variables = {**variables, "params": params}

    def loss(params):
        state = {**variables, "params": params}
        (_, projections), _ = network.apply(state, signal, train=True, mutable=["batch_stats"])
        return nt_xent(projections.reshape(4, 2, -1), jnp.array([0, 1, 1, 2]), temperature=0.1)[0]

    return request.param, variables, signal, *jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize("layout", twin.LAYOUTS)
def test_twin_has_the_loss_and_gradients_of_ecgjax(reference, layout, monkeypatch):
    name, variables, signal, loss, gradients = reference
    fewer = functools.partial(twin.TWINS[name], **FEWER.get(name, {}))
    monkeypatch.setitem(twin.TWINS, name, fewer)
    network = twin.Projected(name, layout)
    twin.load(network, variables)
    twin_loss = twin.nt_xent(network(twin.as_input(signal, layout)), torch.tensor([0, 1, 1, 2]))
    np.testing.assert_allclose(twin_loss.item(), loss, rtol=1e-4)
    twin_loss.backward()
    with torch.no_grad():
        twin_gradients = {key: value.grad.numpy() for key, value in network.named_parameters()}
    for path, leaf in jax.tree.leaves_with_path(gradients):
        *modules, last = [key.key for key in path]
        gradient = twin_gradients[".".join((*modules, "bias" if last == "bias" else "weight"))]
        gradient = gradient.squeeze(2) if gradient.ndim == 4 else gradient
        expected = np.asarray(leaf).T
        assert np.abs(gradient - expected).max() <= 2e-3 * np.abs(expected).max() + 1e-6, path
