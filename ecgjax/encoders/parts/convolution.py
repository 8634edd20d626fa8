"""Convolution over time: flax's Conv in the form that XLA runs fastest, with fast gradients.

In flax's form, XLA on a CPU transposes the whole signal to compute the kernel gradient of a
convolution of kernel size 1. A matrix product of rows needs no transpose.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.devices import map_rows
from ecgjax.encoders.parts.fast_fir import conv1d, fast_conv1d, fast_kernel_gradient
from ecgjax.encoders.parts.platforms import choose


class Conv(nn.Module):
    """Convolution over time; its parameter `kernel` is float32 [kernel, in, out]."""

    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int | None = None
    """Zeros on both sides; None pads to an output of ceil(time / stride) samples ("SAME")."""
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: str = "float32"
    """Precision of the computation."""
    bias: bool = False
    """Adds the parameter `bias`, float32 [out]."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, in_channels] -> [batch, ceil(time / stride), out_channels]."""
        shape = (self.kernel_size, hidden.shape[-1], self.out_channels)
        kernel = self.param("kernel", self.kernel_init, shape)
        output = self._convolve(hidden.astype(self.dtype), kernel.astype(self.dtype))
        if not self.bias:
            return output
        bias = self.param("bias", nn.initializers.zeros, (self.out_channels,))
        return output + bias.astype(self.dtype)[None, None]

    def _convolve(self, hidden: jax.Array, kernel: jax.Array) -> jax.Array:
        if self.kernel_size == self.stride == 1 and not self.padding:
            return choose(hidden, kernel[0], cpu=pointwise_conv_in_pieces, default=pointwise_conv)
        if self.padding is None:
            padding = _same_padding(hidden.shape[1], self.kernel_size, self.stride)
        else:
            padding = (self.padding, self.padding)
        on_cpu = functools.partial(folded_conv, stride=self.stride, padding=padding)
        default = functools.partial(conv1d, stride=self.stride, padding=padding)
        return choose(hidden, kernel, cpu=on_cpu, default=default)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_conv(hidden: jax.Array, kernel: jax.Array, padding: tuple[int, int]) -> jax.Array:
    """Convolution of stride 1 whose gradients are convolutions in XLA's fast layout for CPUs.

    XLA finds this layout by itself, but not inside a loop (`lax.scan` over microbatches, several
    steps per dispatch). There, gradients by automatic differentiation took 60 times as long.
    """
    return fast_conv1d(hidden, kernel, padding)


def _dense_conv_backward(
    padding: tuple[int, int], residuals: tuple[jax.Array, jax.Array], output_gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    hidden, kernel = residuals
    before, after = padding
    size = len(kernel)
    flipped = kernel[::-1].swapaxes(1, 2)
    input_gradient = fast_conv1d(output_gradient, flipped, (size - 1 - before, size - 1 - after))
    return input_gradient, fast_kernel_gradient(hidden, output_gradient, size, padding)


dense_conv.defvjp(
    lambda hidden, kernel, padding: (dense_conv(hidden, kernel, padding), (hidden, kernel)),
    _dense_conv_backward,
)


def folded_conv(
    hidden: jax.Array, kernel: jax.Array, *, stride: int, padding: tuple[int, int]
) -> jax.Array:
    """Strided convolution as one of stride 1: groups of `stride` samples become channels.

    The input gradient of a strided convolution is a convolution over a signal with zeros between
    its samples, for which XLA has no fast form on a CPU.
    """
    if stride == 1:
        return dense_conv(hidden, kernel, padding)
    batch, time, channels = hidden.shape
    samples = (time + sum(padding) - kernel.shape[0]) // stride + 1
    taps = -(-kernel.shape[0] // stride)
    groups = samples + taps - 1
    hidden = jax.lax.pad(
        hidden,
        jnp.zeros((), hidden.dtype),
        ((0, 0, 0), (padding[0], groups * stride - time - padding[0], 0), (0, 0, 0)),
    )
    kernel = jnp.pad(kernel, ((0, taps * stride - kernel.shape[0]), (0, 0), (0, 0)))
    folded = hidden.reshape(batch, groups, stride * channels)
    return dense_conv(folded, kernel.reshape(taps, stride * channels, -1), (0, 0))


def pointwise_conv(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of kernel size 1: [batch, time, in], [in, out] -> [batch, time, out]."""
    # Batch and time become one axis: XLA transposes the whole signal before a product that
    # contracts them as two axes.
    return (hidden.reshape(-1, hidden.shape[-1]) @ kernel).reshape(*hidden.shape[:2], -1)


@jax.custom_vjp
def pointwise_conv_in_pieces(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """`pointwise_conv` whose kernel gradient is a sum over eight pieces of the batch.

    On a CPU, XLA's product of tall matrices takes up to 1.7 times as long in one piece, or with the
    wider matrix first.
    """
    return pointwise_conv(hidden, kernel)


def _pointwise_conv_backward(
    residuals: tuple[jax.Array, jax.Array], output_gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    hidden, kernel = residuals
    # Eight pieces: each of the two, four or eight devices of a batch computes those it has.
    pieces = math.gcd(len(hidden), 8)
    inputs = hidden.reshape(pieces, -1, hidden.shape[-1])
    gradients = output_gradient.reshape(pieces, -1, output_gradient.shape[-1])
    if kernel.shape[0] <= kernel.shape[1]:
        kernel_gradient = jnp.einsum("pri,pro->pio", inputs, gradients).sum(0)
    else:
        kernel_gradient = jnp.einsum("pro,pri->poi", gradients, inputs).sum(0).T
    return pointwise_conv(output_gradient, kernel.T), kernel_gradient


pointwise_conv_in_pieces.defvjp(
    lambda hidden, kernel: (pointwise_conv(hidden, kernel), (hidden, kernel)),
    _pointwise_conv_backward,
)


class GroupedConv(nn.Module):
    """flax's Conv with "SAME" padding, bias and groups of channels."""

    out_channels: int
    kernel_size: int
    groups: int
    stride: int = 1
    dtype: str = "float32"
    """Precision of the computation."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, in_channels] -> [batch, ceil(time / stride), out_channels]."""
        shape = (self.kernel_size, hidden.shape[-1] // self.groups, self.out_channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.out_channels,))
        hidden = hidden.astype(self.dtype)
        kernel = kernel.astype(self.dtype)
        bias = bias.astype(self.dtype)
        convolve = functools.partial(spectral_conv, stride=self.stride)
        spectral = functools.partial(map_rows, convolve)
        default = functools.partial(grouped_conv, stride=self.stride)
        output = choose(hidden, kernel, cpu=spectral, default=default)
        return output + bias[None, None]


def grouped_conv(hidden: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Grouped convolution with "SAME" padding.

    Args:
      hidden: [batch, time, in].
      kernel: [kernel, in / groups, out].
      stride: samples from one output to the next.

    Returns:
      [batch, ceil(time / stride), out].
    """
    return jax.lax.conv_general_dilated(
        hidden,
        kernel,
        (stride,),
        [_same_padding(hidden.shape[1], len(kernel), stride)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=hidden.shape[-1] // kernel.shape[1],
    )


def spectral_conv(hidden: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """`grouped_conv` as a product of Fourier transforms, computed in float32.

    XLA has no fast form for the gradients of grouped convolutions on a CPU: with kernel size 128 in
    16 groups they took 20 times as long.
    """
    batch, time, _ = hidden.shape
    taps, inputs, outputs = kernel.shape
    groups = hidden.shape[-1] // inputs
    spectrum = jnp.fft.rfft(hidden.astype(jnp.float32), time + taps - 1, axis=1)
    gains = jnp.fft.rfft(kernel[::-1].astype(jnp.float32), time + taps - 1, axis=0)
    spectrum = jnp.einsum(
        "bfgi,figo->bfgo",
        spectrum.reshape(batch, -1, groups, inputs),
        gains.reshape(-1, inputs, groups, outputs // groups),
    )
    full = jnp.fft.irfft(spectrum.reshape(batch, -1, outputs), time + taps - 1, axis=1)
    before, _ = _same_padding(time, taps, stride)
    return full[:, taps - 1 - before :: stride][:, : -(-time // stride)].astype(hidden.dtype)


def _same_padding(time: int, kernel_size: int, stride: int) -> tuple[int, int]:
    (padding,) = jax.lax.padtype_to_pads((time,), (kernel_size,), (stride,), "SAME")
    return padding
