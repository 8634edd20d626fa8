"""Convolutions with fewer products against plain sums in float64, and how many they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.encoders.parts.convolution import conv, dense_conv
from ecgjax.encoders.parts.fast_fir import fast_conv, fast_kernel_gradient
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


def _sums(signal, kernel, slope, pads):
    """float64: the output, and what its gradient `slope` makes of signal and kernel, tap by tap."""
    signal, kernel, slope = (of.astype(np.float64) for of in (signal, kernel, slope))
    padded = np.pad(signal, ((0, 0), pads, (0, 0)))
    samples = padded.shape[1] - len(kernel) + 1
    output, towards, by_kernel = np.zeros_like(slope), np.zeros_like(padded), np.zeros_like(kernel)
    for tap, weights in enumerate(kernel):
        seen = padded[:, tap : tap + samples]
        output += seen @ weights
        towards[:, tap : tap + samples] += slope @ weights.T
        by_kernel[tap] = np.einsum("bti,bto->io", seen, slope)
    return output, towards[:, pads[0] : pads[0] + signal.shape[1]], by_kernel


@pytest.mark.parametrize(("taps", "samples", "pads"), CASES)
def test_values_and_gradients_are_the_plain_sums(taps, samples, pads):
    signal, kernel = _random(3, samples, 64), _random(taps, 64, 96)
    slope = _random(3, samples + sum(pads) - taps + 1, 96)
    output, back = jax.vjp(lambda signal, kernel: dense_conv(signal, kernel, pads), signal, kernel)
    for found, expected in zip(
        (output, *back(slope)), _sums(signal, kernel, slope, pads), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_over_eight_devices_it_is_the_same():
    signal, kernel, slope = _random(8, 40, 64), _random(16, 64, 64), _random(8, 40, 64)

    @jax.jit
    def run(signal, kernel, slope):
        output, back = jax.vjp(
            lambda signal, kernel: dense_conv(signal, kernel, (7, 8)), signal, kernel
        )
        return output, *back(slope)

    mesh = data_mesh()
    assert mesh.size == 8
    batch, everywhere = split(mesh), replicated(mesh)
    shared = run(
        *(
            jax.device_put(of, to)
            for of, to in ((signal, batch), (kernel, everywhere), (slope, batch))
        )
    )
    assert shared[0].sharding.is_equivalent_to(batch, 3)
    for found, expected in zip(shared, run(signal, kernel, slope), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_a_wide_convolution_takes_fewer_products():
    signal, kernel, slope = _random(2, 128 + 15, 64), _random(16, 64, 64), _random(2, 128, 64)
    plain = _operations(lambda signal, kernel: conv(signal, kernel, pads=(0, 0)), signal, kernel)
    # 9/16 for two halvings; the additions, and what the parts overlap, come on top.
    assert (
        _operations(lambda signal, kernel: fast_conv(signal, kernel, (0, 0)), signal, kernel)
        < 0.65 * plain
    )
    gradient = _operations(
        lambda signal, slope: fast_kernel_gradient(signal, slope, 16, (0, 0)), signal, slope
    )
    assert gradient < 0.65 * plain


@pytest.mark.parametrize(("inputs", "dtype"), [(12, "float32"), (64, "bfloat16")])
def test_few_channels_and_bfloat16_are_convolved_plainly(inputs, dtype):
    signal, kernel = (
        jnp.asarray(of, dtype) for of in (_random(2, 40, inputs), _random(16, inputs, 64))
    )
    np.testing.assert_array_equal(
        fast_conv(signal, kernel, (7, 8)), conv(signal, kernel, pads=(7, 8))
    )


def _operations(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().cost_analysis()["flops"]
