"""Convolution over time: flax's Conv in the form in which XLA runs it, and its gradients, fast.

In flax's form XLA on a CPU transposes the whole signal for the weight gradient of a convolution of one sample; a matrix
product of rows needs no transpose.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.devices import by_rows
from ecgjax.encoders.parts.fast_fir import conv, fast_conv, fast_kernel_gradient


class Conv(nn.Module):
    """Convolution over time without bias; the parameter is `kernel`, float32 [kernel, in, out]."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int | None = None
    """Zeros on both sides; None pads to an output of ceil(time / stride) samples ("SAME")."""
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: str = "float32"
    """What it computes in."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / stride), channels]."""
        kernel = self.param(
            "kernel", self.kernel_init, (self.kernel, hidden.shape[-1], self.channels)
        )
        hidden, kernel = hidden.astype(self.dtype), kernel.astype(self.dtype)
        if self.kernel == self.stride == 1 and not self.padding:
            return jax.lax.platform_dependent(
                hidden, kernel[0], cpu=pointwise_in_pieces, default=pointwise
            )
        padding = self.padding
        pads = (
            same_padding(hidden.shape[1], self.kernel, self.stride)
            if padding is None
            else (padding, padding)
        )
        on_cpu = functools.partial(folded_conv, stride=self.stride, pads=pads)
        plain = functools.partial(conv, stride=self.stride, pads=pads)
        return jax.lax.platform_dependent(hidden, kernel, cpu=on_cpu, default=plain)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_conv(hidden: jax.Array, kernel: jax.Array, pads: tuple[int, int]) -> jax.Array:
    """`conv` of stride 1 whose gradients too are convolutions in the one layout that XLA is fast with on a CPU.

    It finds that layout by itself, but not within a loop (`lax.scan` over microbatches, several steps a dispatch):
    there the plain gradients took 60 times as long.
    """
    return fast_conv(hidden, kernel, pads)


def _dense_conv_back(pads: tuple[int, int], kept: tuple[jax.Array, jax.Array], slope: jax.Array):
    hidden, kernel = kept
    reach = len(kernel) - 1
    towards = fast_conv(slope, kernel[::-1].swapaxes(1, 2), (reach - pads[0], reach - pads[1]))
    return towards, fast_kernel_gradient(hidden, slope, len(kernel), pads)


dense_conv.defvjp(
    lambda hidden, kernel, pads: (dense_conv(hidden, kernel, pads), (hidden, kernel)),
    _dense_conv_back,
)


def folded_conv(
    hidden: jax.Array, kernel: jax.Array, *, stride: int, pads: tuple[int, int]
) -> jax.Array:
    """`conv` as one of stride 1 over groups of `stride` samples, taken as channels.

    The gradient of a strided convolution with respect to its input is one over a signal spread with zeros, for which
    XLA has no fast form on a CPU.
    """
    if stride == 1:
        return dense_conv(hidden, kernel, pads)
    batch, time, channels = hidden.shape
    samples = (time + sum(pads) - kernel.shape[0]) // stride + 1
    taps = -(-kernel.shape[0] // stride)
    groups = samples + taps - 1
    hidden = jax.lax.pad(
        hidden,
        jnp.zeros((), hidden.dtype),
        ((0, 0, 0), (pads[0], groups * stride - time - pads[0], 0), (0, 0, 0)),
    )
    kernel = jnp.pad(kernel, ((0, taps * stride - kernel.shape[0]), (0, 0), (0, 0)))
    folded = hidden.reshape(batch, groups, stride * channels)
    return dense_conv(folded, kernel.reshape(taps, stride * channels, -1), (0, 0))


def pointwise(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """`conv` of one sample: [batch, time, in], [in, out] -> [batch, time, out]."""
    # Rows first: XLA transposes the whole signal before a product that contracts batch and time as two axes.
    return (hidden.reshape(-1, hidden.shape[-1]) @ kernel).reshape(*hidden.shape[:2], -1)


@jax.custom_vjp
def pointwise_in_pieces(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """`pointwise`; the kernel's gradient is a sum over eight pieces of the batch.

    On a CPU XLA's product of tall matrices takes up to 1.7 times as long in one piece, or with the wider one first.
    """
    return pointwise(hidden, kernel)


def _pointwise_back(kept: tuple[jax.Array, jax.Array], slope: jax.Array):
    hidden, kernel = kept
    pieces = math.gcd(
        len(hidden), 8
    )  # each of the two, four or eight devices of a batch keeps its own
    rows, slopes = (of.reshape(pieces, -1, of.shape[-1]) for of in (hidden, slope))
    if kernel.shape[0] <= kernel.shape[1]:
        by_kernel = jnp.einsum("pri,pro->pio", rows, slopes).sum(0)
    else:
        by_kernel = jnp.einsum("pro,pri->poi", slopes, rows).sum(0).T
    return pointwise(slope, kernel.T), by_kernel


pointwise_in_pieces.defvjp(
    lambda hidden, kernel: (pointwise(hidden, kernel), (hidden, kernel)), _pointwise_back
)


class GroupedConv(nn.Module):
    """flax's Conv of stride 1 with "SAME" padding and bias, whose channels are in groups that do not see each other."""

    channels: int
    kernel: int
    groups: int
    dtype: str = "float32"
    """What it computes in."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> [batch, time, channels]."""
        shape = (self.kernel, hidden.shape[-1] // self.groups, self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        hidden, kernel, bias = (of.astype(self.dtype) for of in (hidden, kernel, bias))
        spectral = functools.partial(by_rows, spectral_conv)
        return (
            jax.lax.platform_dependent(hidden, kernel, cpu=spectral, default=grouped_conv)
            + bias[None, None]
        )


def grouped_conv(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """[batch, time, in], [kernel, in / groups, out] -> [batch, time, out], "SAME"."""
    return jax.lax.conv_general_dilated(
        hidden,
        kernel,
        (1,),
        [same_padding(hidden.shape[1], len(kernel), 1)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=hidden.shape[-1] // kernel.shape[1],
    )


def spectral_conv(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """`grouped_conv` as a product of spectra, computed in float32.

    For the gradients of grouped convolutions XLA has no fast form on a CPU: with 128 taps in 16 groups they took 20
    times as long.
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
    whole = jnp.fft.irfft(spectrum.reshape(batch, -1, outputs), time + taps - 1, axis=1)
    _, right = same_padding(time, taps, 1)
    return whole[:, right : right + time].astype(hidden.dtype)


def same_padding(time: int, window: int, stride: int) -> tuple[int, int]:
    """Samples that "SAME" padding adds before and after."""
    total = max((-(-time // stride) - 1) * stride + window - time, 0)
    return total // 2, total - total // 2
