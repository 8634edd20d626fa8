"""The yardstick of training speed is a twin: equal losses and gradients from equal parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders import ENCODERS
from ecgjax.objectives.parts.nt_xent import nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast

torch = pytest.importorskip("torch", reason="the twin needs PyTorch (pip install torch)")
twin = pytest.importorskip(
    "benchmarks.torch_twin", reason="benchmarks/ is beside the package, not in it"
)


FEWER = {"xresnet1d50": {"depths": (1, 2, 1, 1)}}
"""Settings that repeat the same block less often, for both sides: of 3, 4, 6 and 3 blocks a stage the first and one
other are there. test_every_parameter_of_the_whole_has_its_place is about all of them."""


@pytest.mark.parametrize("layout", twin.LAYOUTS)
@pytest.mark.parametrize("name", twin.TWINS)
def test_every_parameter_of_the_whole_has_its_place(name, layout):
    init = functools.partial(PatientContrast()._network(ENCODERS[name]).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((2, 251, 12)))
    twin.load(
        twin.Projected(name, layout),
        jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes),
    )


@pytest.fixture(scope="module", params=twin.TWINS)
def ours(request):
    """Name, variables, signal, loss and gradients of an encoder as JAX computes them."""
    encoder = ENCODERS[request.param].clone(**FEWER.get(request.param, {}))
    rng, network = np.random.default_rng(0), PatientContrast()._network(encoder)
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
def test_twin_has_our_loss_and_gradients(ours, layout, monkeypatch):
    name, variables, signal, loss, gradients = ours
    monkeypatch.setitem(
        twin.TWINS, name, functools.partial(twin.TWINS[name], **FEWER.get(name, {}))
    )
    network = twin.Projected(name, layout)
    twin.load(network, variables)
    found = twin.nt_xent(network(twin.as_input(signal, layout)), torch.tensor([0, 1, 1, 2]))
    np.testing.assert_allclose(found.item(), loss, rtol=1e-4)
    found.backward()
    with torch.no_grad():
        slopes = {parameter: value.grad for parameter, value in network.named_parameters()}
    for path, leaf in jax.tree.leaves_with_path(gradients):
        *modules, last = (key.key for key in path)
        slope = slopes[".".join((*modules, "bias" if last == "bias" else "weight"))].numpy()
        slope = slope.squeeze(2) if slope.ndim == 4 else slope
        expected = np.asarray(leaf).T
        assert np.abs(slope - expected).max() <= 2e-3 * np.abs(expected).max() + 1e-6, path
