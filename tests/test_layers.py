"""The encoders' layers against flax's and lax's: values and gradients, in float32 with tight bounds."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders import ENCODERS
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.parts import layers
from ecgjax.encoders.parts.convolution import (
    Conv,
    GroupedConv,
    conv,
    dense_conv,
    folded_conv,
    pointwise,
    pointwise_in_pieces,
)
from ecgjax.encoders.parts.layers import BatchNorm, halve, max_pool, once, relu
from ecgjax.encoders.xresnet1d import Bottleneck
from ecgjax.workflows.precision import bfloat16_deviation


def _values_and_gradients(function, *arrays):
    """Output and the gradient of a sum with fixed weights with respect to every array."""

    def total(*arrays):
        output = function(*arrays)
        return (output * jnp.cos(jnp.arange(output.size)).reshape(output.shape)).sum(), output

    (_, output), gradients = jax.jit(jax.value_and_grad(total, range(len(arrays)), has_aux=True))(
        *arrays
    )
    return output, gradients


def _agree(function, reference, *arrays):
    found, expected = (_values_and_gradients(each, *arrays) for each in (function, reference))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max()),
        found,
        expected,
    )


def _random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "time"),
    [
        (1, 1, None, 9),
        (1, 1, 0, 9),
        (5, 1, 2, 20),
        (5, 2, 2, 21),
        (16, 1, None, 40),
        (16, 4, None, 41),
        (5, 2, None, 20),
        (7, 2, None, 19),
    ],
)
def test_convolution_is_flax(kernel, stride, padding, time):
    pads = "SAME" if padding is None else [(padding, padding)]
    theirs = nn.Conv(4, (kernel,), strides=stride, padding=pads, use_bias=False)
    ours, signal, weights = (
        Conv(4, kernel, stride, padding),
        _random(2, time, 3),
        _random(kernel, 3, 4),
    )
    apply = [
        functools.partial(lambda layer, x, w: layer.apply({"params": {"kernel": w}}, x), layer)
        for layer in (ours, theirs)
    ]
    _agree(*apply, signal, weights)
    begun = [layer.init(jax.random.key(0), signal)["params"]["kernel"] for layer in (ours, theirs)]
    np.testing.assert_array_equal(*begun)


@pytest.mark.parametrize("kernel", [128, 5, 6])
def test_grouped_convolution_is_flax(kernel):
    theirs, ours = nn.Conv(12, (kernel,), feature_group_count=4), GroupedConv(12, kernel, 4)
    signal, weights, bias = _random(3, 37, 24), _random(kernel, 6, 12), _random(12)
    apply = [
        functools.partial(
            lambda layer, x, w, b: layer.apply({"params": {"kernel": w, "bias": b}}, x), layer
        )
        for layer in (ours, theirs)
    ]
    _agree(*apply, signal, weights, bias)


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "time"),
    [(5, 2, (2, 2), 21), (16, 4, (6, 7), 41), (3, 2, (0, 1), 8)],
)
def test_folded_convolution_is_the_strided_one(kernel, stride, pads, time):
    lowered = (functools.partial(each, stride=stride, pads=pads) for each in (folded_conv, conv))
    _agree(*lowered, _random(2, time, 3), _random(kernel, 3, 4))


@pytest.mark.parametrize(("batch", "channels"), [(16, (3, 12)), (12, (12, 3)), (5, (4, 4))])
def test_product_in_pieces_is_that_in_one(batch, channels):
    _agree(pointwise_in_pieces, pointwise, _random(batch, 9, channels[0]), _random(*channels))


@pytest.mark.parametrize("train", [True, False])
def test_normalisation_is_flax(train):
    ours, theirs = BatchNorm(), nn.BatchNorm(use_running_average=not train, momentum=0.9)
    signal, scale, bias = 3 + 2 * _random(4, 9, 5), _random(5), _random(5)
    statistics = {"mean": _random(5), "var": 1 + _random(5) ** 2}

    def apply(layer, **options):
        def function(signal, scale, bias):
            variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}
            output, updates = layer.apply(variables, signal, mutable=["batch_stats"], **options)
            moved = jax.lax.stop_gradient(jnp.concatenate(jax.tree.leaves(updates)))
            return jnp.concatenate([output.reshape(-1), moved])

        return function

    _agree(apply(ours, train=train), apply(theirs), signal, scale, bias)


@pytest.mark.parametrize("time", [8, 9, 10, 11])
def test_pools_are_flax(time):
    signal = _random(2, time, 3)
    strided = {"strides": (2,), "padding": "SAME"}
    _agree(halve, lambda x: nn.avg_pool(x, (2,), count_include_pad=False, **strided), signal)
    padded = functools.partial(max_pool, window=3, stride=2, pads=(1, 1))
    _agree(padded, lambda x: nn.max_pool(x, (3,), strides=(2,), padding=((1, 1),)), signal)
    same = functools.partial(max_pool, window=4, stride=4)
    _agree(same, lambda x: nn.max_pool(x, (4,), strides=(4,), padding="SAME"), signal)


def test_once_changes_nothing():
    hidden = np.array([0.0, -0.0, 1.2e-38, -3.4e38, 1 / 3, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(
        jax.jit(once)(hidden).view(np.int32)[:-1], hidden.view(np.int32)[:-1]
    )
    assert np.isnan(jax.jit(once)(hidden)[-1])


def test_what_several_read_is_computed_once(monkeypatch):
    """Without `once` XLA computes a bottleneck's output anew in the next one; a jaxlib that does not may drop it."""
    block = Bottleneck(width=16, expansion=4, kernel=3, stride=1, dtype="float32")
    signal = jnp.zeros((8, 50, 64))
    variables = block.init(jax.random.key(0), signal, train=False)

    def loss(variables):
        hidden = signal
        for _ in range(3):
            hidden, _ = block.apply(variables, hidden, train=True, mutable=["batch_stats"])
        return hidden.sum()

    def moved() -> float:
        compiled = jax.jit(jax.grad(lambda variables: loss(variables))).lower(variables).compile()
        return compiled.cost_analysis()["bytes accessed"]  # pyright: ignore

    with_it = moved()
    monkeypatch.setattr(layers, "once", lambda hidden: hidden)
    assert with_it < 0.9 * moved()


def test_gradients_at_ties():
    np.testing.assert_array_equal(
        jax.grad(lambda x: relu(x).sum())(jnp.array([-1.0, 0, 2])), [0, 0, 1]
    )
    slope = jax.grad(lambda x: max_pool(x, 2, 2).sum())(jnp.ones((1, 4, 1)))
    np.testing.assert_array_equal(slope[0, :, 0], [1, 0, 1, 0])


def test_bfloat16_is_near_and_leaves_float32_outside():
    encoder, signal = CompactResnet(widths=(8, 8)), _random(4, 100, 12)
    half = encoder.clone(dtype="bfloat16")
    variables = jax.eval_shape(functools.partial(half.init, train=False), jax.random.key(0), signal)
    apply = functools.partial(half.apply, train=True, mutable=["batch_stats"])
    (tokens, embedding), updates = jax.eval_shape(apply, variables, signal)
    assert {leaf.dtype for leaf in (tokens, embedding, *jax.tree.leaves(updates))} == {
        np.dtype("float32")
    }
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(variables))
    assert 0 < bfloat16_deviation(encoder, samples=100) < 0.3


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_computing_dtype_is_a_setting(encoder):
    assert encoder.dtype == "float32"


@pytest.mark.parametrize("pads", [(2, 2), (0, 0), (1, 3)])
def test_dense_convolution_is_the_plain_one(pads):
    plain = functools.partial(conv, pads=pads)
    _agree(
        lambda hidden, kernel: dense_conv(hidden, kernel, pads),
        plain,
        _random(3, 20, 4),
        _random(5, 4, 6),
    )
