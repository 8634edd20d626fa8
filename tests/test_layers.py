"""The encoders' layers against those of flax and lax: values and gradients in float32."""

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
    conv1d,
    dense_conv,
    folded_conv,
    pointwise_conv,
    pointwise_conv_in_pieces,
)
from ecgjax.encoders.parts.layers import (
    BatchNorm,
    average_pool,
    max_pool,
    maximum_over_time,
    prevent_recomputation,
    relu,
)
from ecgjax.encoders.xresnet1d import Bottleneck
from ecgjax.workflows import precision
from ecgjax.workflows.precision import bfloat16_deviation


def _values_and_gradients(function, *arrays):
    """Returns the output, and the gradient of its weighted sum with respect to every array."""

    def total(*arrays):
        output = function(*arrays)
        return (output * jnp.cos(jnp.arange(output.size)).reshape(output.shape)).sum(), output

    (_, output), gradients = jax.jit(jax.value_and_grad(total, range(len(arrays)), has_aux=True))(
        *arrays
    )
    return output, gradients


def _assert_equal(function, reference, *arrays):
    results = _values_and_gradients(function, *arrays)
    expected = _values_and_gradients(reference, *arrays)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * np.abs(b).max()),
        results,
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
def test_convolution_equals_flax(kernel, stride, padding, time):
    pads = "SAME" if padding is None else [(padding, padding)]
    reference = nn.Conv(4, (kernel,), strides=stride, padding=pads, use_bias=False)
    layer = Conv(4, kernel, stride, padding)
    signal = _random(2, time, 3)
    weights = _random(kernel, 3, 4)

    def apply(layer, signal, weights):
        return layer.apply({"params": {"kernel": weights}}, signal)

    functions = [functools.partial(apply, module) for module in (layer, reference)]
    _assert_equal(*functions, signal, weights)
    kernels = [
        module.init(jax.random.key(0), signal)["params"]["kernel"] for module in (layer, reference)
    ]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize(("kernel", "stride"), [(128, 1), (5, 1), (6, 1), (16, 2), (5, 3), (2, 3)])
def test_grouped_convolution_equals_flax(kernel, stride):
    reference = nn.Conv(12, (kernel,), stride, feature_group_count=4)
    layer = GroupedConv(12, kernel, 4, stride)

    def apply(layer, signal, weights, bias):
        return layer.apply({"params": {"kernel": weights, "bias": bias}}, signal)

    functions = [functools.partial(apply, module) for module in (layer, reference)]
    _assert_equal(*functions, _random(3, 37, 24), _random(kernel, 6, 12), _random(12))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "time"),
    [(5, 2, (2, 2), 21), (16, 4, (6, 7), 41), (3, 2, (0, 1), 8)],
)
def test_folded_convolution_equals_the_strided_one(kernel, stride, padding, time):
    folded = functools.partial(folded_conv, stride=stride, padding=padding)
    plain = functools.partial(conv1d, stride=stride, padding=padding)
    _assert_equal(folded, plain, _random(2, time, 3), _random(kernel, 3, 4))


@pytest.mark.parametrize(("batch", "channels"), [(16, (3, 12)), (12, (12, 3)), (5, (4, 4))])
def test_pointwise_convolution_in_pieces_equals_that_in_one(batch, channels):
    signal = _random(batch, 9, channels[0])
    _assert_equal(pointwise_conv_in_pieces, pointwise_conv, signal, _random(*channels))


@pytest.mark.parametrize("train", [True, False])
def test_batch_normalisation_equals_flax(train):
    signal = 3 + 2 * _random(4, 9, 5)
    statistics = {"mean": _random(5), "var": 1 + _random(5) ** 2}

    def apply(layer, **options):
        def function(signal, scale, bias):
            variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}
            output, updates = layer.apply(variables, signal, mutable=["batch_stats"], **options)
            updated = jax.lax.stop_gradient(jnp.concatenate(jax.tree.leaves(updates)))
            return jnp.concatenate([output.reshape(-1), updated])

        return function

    reference = nn.BatchNorm(use_running_average=not train, momentum=0.9)
    layer = apply(BatchNorm(), train=train)
    _assert_equal(layer, apply(reference), signal, _random(5), _random(5))


@pytest.mark.parametrize("time", [8, 9, 10, 11])
def test_pools_equal_flax(time):
    signal = _random(2, time, 3)
    average = functools.partial(
        nn.avg_pool, window_shape=(2,), strides=(2,), padding="SAME", count_include_pad=False
    )
    _assert_equal(average_pool, average, signal)
    padded = functools.partial(max_pool, window=3, stride=2, padding=(1, 1))
    reference = functools.partial(nn.max_pool, window_shape=(3,), strides=(2,), padding=((1, 1),))
    _assert_equal(padded, reference, signal)
    same = functools.partial(max_pool, window=4, stride=4)
    reference = functools.partial(nn.max_pool, window_shape=(4,), strides=(4,), padding="SAME")
    _assert_equal(same, reference, signal)


def test_prevent_recomputation_keeps_every_bit():
    hidden = np.array([0.0, -0.0, 1.2e-38, -3.4e38, 1 / 3, np.inf, -np.inf, np.nan], np.float32)
    output = jax.jit(prevent_recomputation)(hidden)
    np.testing.assert_array_equal(output.view(np.int32)[:-1], hidden.view(np.int32)[:-1])
    assert np.isnan(output[-1])


def test_a_value_with_several_readers_is_computed_once(monkeypatch):
    """XLA computes a bottleneck's output again in the next block if nothing prevents it.

    If this fails with a newer jaxlib, that jaxlib may not need it.
    """
    block = Bottleneck(width=16, expansion=4, kernel=3, stride=1, dtype="float32")
    signal = jnp.zeros((8, 50, 64))
    variables = block.init(jax.random.key(0), signal, train=False)

    def loss(variables):
        hidden = signal
        for _ in range(3):
            hidden, _ = block.apply(variables, hidden, train=True, mutable=["batch_stats"])
        return hidden.sum()

    def bytes_accessed() -> float:
        compiled = jax.jit(jax.grad(lambda variables: loss(variables))).lower(variables).compile()
        return compiled.cost_analysis()["bytes accessed"]  # pyright: ignore

    prevented = bytes_accessed()
    monkeypatch.setattr(layers, "prevent_recomputation", lambda hidden: hidden)
    assert prevented < 0.9 * bytes_accessed()


def test_gradients_at_ties():
    gradient = jax.grad(lambda x: relu(x).sum())(jnp.array([-1.0, 0, 2]))
    np.testing.assert_array_equal(gradient, [0, 0, 1])
    gradient = jax.grad(lambda x: max_pool(x, 2, 2).sum())(jnp.ones((1, 4, 1)))
    np.testing.assert_array_equal(gradient[0, :, 0], [1, 0, 1, 0])


def test_bfloat16_is_accurate_and_the_outputs_are_float32():
    encoder = CompactResnet(widths=(8, 8))
    signal = _random(4, 100, 12)
    half = encoder.clone(dtype="bfloat16")
    variables = jax.eval_shape(functools.partial(half.init, train=False), jax.random.key(0), signal)
    apply = functools.partial(half.apply, train=True, mutable=["batch_stats"])
    (tokens, embedding), updates = jax.eval_shape(apply, variables, signal)
    for leaf in (tokens, embedding, *jax.tree.leaves(updates), *jax.tree.leaves(variables)):
        assert leaf.dtype == np.float32
    assert 0 < bfloat16_deviation(encoder, samples=100) < 0.3


@pytest.mark.parametrize("errors", [(0.01, np.nan), (np.nan, 0.01)])
def test_bfloat16_that_gives_nan_is_found(monkeypatch, errors):
    found = iter(errors)
    monkeypatch.setattr(precision, "_relative_error", lambda *pair: jnp.float32(next(found)))
    assert np.isnan(bfloat16_deviation(CompactResnet(widths=(8, 8)), samples=100))


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_every_encoder_has_a_precision(encoder):
    assert encoder.dtype == "float32"


@pytest.mark.parametrize("padding", [(2, 2), (0, 0), (1, 3)])
def test_dense_convolution_equals_the_plain_one(padding):
    def dense(signal, kernel):
        return dense_conv(signal, kernel, padding)

    plain = functools.partial(conv1d, padding=padding)
    _assert_equal(dense, plain, _random(3, 20, 4), _random(5, 4, 6))


def test_maximum_over_time_has_the_gradient_of_the_first_maximum():
    hidden = _random(3, 9, 4)
    _assert_equal(maximum_over_time, lambda hidden: hidden.max(1), hidden)
    equal = jnp.zeros((1, 3, 2)).at[0, 0, 1].set(-1)
    gradient = jax.grad(lambda hidden: maximum_over_time(hidden).sum())(equal)
    np.testing.assert_array_equal(gradient[0], [[1, 0], [0, 1], [0, 0]])
