"""Fast convolutions against plain sums in float64, and their number of operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.parts.convolution import conv1d, dense_conv
from ecgjax.encoders.parts.fast_fir import fast_conv1d, fast_kernel_gradient
from ecgjax.train.sharding import data_mesh, replicated, split

CASES = [
    # taps, samples, zeros on both sides
    (16, 50, (7, 8)),
    (16, 37, (0, 0)),
    (16, 16, (0, 0)),  # one output
    (8, 33, (3, 4)),
    (6, 33, (2, 3)),  # halved once
    (4, 9, (0, 0)),
    (2, 7, (0, 1)),
    (5, 21, (2, 2)),  # not halved
]


def _random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def _sums(signal, kernel, output_gradient, padding):
    """Returns, in float64, the output and the gradients of signal and kernel, tap by tap."""
    signal = signal.astype(np.float64)
    kernel = kernel.astype(np.float64)
    output_gradient = output_gradient.astype(np.float64)
    padded = np.pad(signal, ((0, 0), padding, (0, 0)))
    samples = padded.shape[1] - len(kernel) + 1
    output = np.zeros_like(output_gradient)
    padded_gradient = np.zeros_like(padded)
    kernel_gradient = np.zeros_like(kernel)
    for tap, weights in enumerate(kernel):
        window = padded[:, tap : tap + samples]
        output += window @ weights
        padded_gradient[:, tap : tap + samples] += output_gradient @ weights.T
        kernel_gradient[tap] = np.einsum("bti,bto->io", window, output_gradient)
    signal_gradient = padded_gradient[:, padding[0] : padding[0] + signal.shape[1]]
    return output, signal_gradient, kernel_gradient


def _output_and_gradients(signal, kernel, output_gradient, padding):
    output, backward = jax.vjp(lambda *inputs: dense_conv(*inputs, padding), signal, kernel)
    return output, *backward(output_gradient)


def _assert_close(results, references):
    for result, expected in zip(results, references, strict=True):
        np.testing.assert_allclose(result, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("taps", "samples", "padding"), CASES)
def test_values_and_gradients_equal_the_plain_sums(taps, samples, padding):
    signal = _random(3, samples, 64)
    kernel = _random(taps, 64, 96)
    output_gradient = _random(3, samples + sum(padding) - taps + 1, 96)
    inputs = (signal, kernel, output_gradient, padding)
    _assert_close(_output_and_gradients(*inputs), _sums(*inputs))


def test_eight_devices_give_the_same_values():
    signal = _random(8, 40, 64)
    kernel = _random(16, 64, 64)
    output_gradient = _random(8, 40, 64)
    compute = jax.jit(lambda *arrays: _output_and_gradients(*arrays, (7, 8)))
    mesh = data_mesh()
    assert mesh.size == 8
    batch = split(mesh)
    results = compute(
        jax.device_put(signal, batch),
        jax.device_put(kernel, replicated(mesh)),
        jax.device_put(output_gradient, batch),
    )
    assert results[0].sharding.is_equivalent_to(batch, 3)
    _assert_close(results, compute(signal, kernel, output_gradient))


def test_a_wide_convolution_needs_fewer_products():
    signal = _random(2, 128 + 15, 64)
    kernel = _random(16, 64, 64)
    output_gradient = _random(2, 128, 64)
    plain = _operations(lambda *inputs: conv1d(*inputs, padding=(0, 0)), signal, kernel)
    fast = _operations(lambda *inputs: fast_conv1d(*inputs, (0, 0)), signal, kernel)
    # 9/16 of the products with two halvings, plus the additions and the overlap of the parts.
    assert fast < 0.65 * plain
    gradient = _operations(
        lambda *inputs: fast_kernel_gradient(*inputs, 16, (0, 0)), signal, output_gradient
    )
    assert gradient < 0.65 * plain


@pytest.mark.parametrize(("inputs", "dtype"), [(12, "float32"), (64, "bfloat16")])
def test_few_channels_and_bfloat16_use_the_plain_convolution(inputs, dtype):
    signal = jnp.asarray(_random(2, 40, inputs), dtype)
    kernel = jnp.asarray(_random(16, inputs, 64), dtype)
    plain = conv1d(signal, kernel, padding=(7, 8))
    np.testing.assert_array_equal(fast_conv1d(signal, kernel, (7, 8)), plain)


def _operations(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().cost_analysis()["flops"]
