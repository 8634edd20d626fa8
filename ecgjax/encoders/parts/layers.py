"""Layers of the encoders other than convolutions: batch normalisation, ReLU and pooling.

A narrow 1-D network spends much of its time on passes over the signal. These layers need fewer of
them than flax's. Values, parameter names, shapes and initial values are flax's. Parameters, batch
statistics and embeddings are float32 in every precision of the computation.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.platforms import choose, is_plain


class BatchNorm(nn.Module):
    """Batch normalisation over batch and time; the running statistics have an EMA decay of 0.9."""

    scale_init: nn.initializers.Initializer = nn.initializers.ones
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> the same shape and dtype."""
        shape = hidden.shape[-1:]
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            gain = jax.lax.rsqrt(var.value + self.epsilon) * scale
            return _affine(hidden, mean.value, gain, bias)
        outputs: Any = batch_normalise(hidden, scale, bias, self.epsilon)
        normalised, batch_mean, batch_var = outputs
        if not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * batch_mean
            var.value = 0.9 * var.value + 0.1 * batch_var
        return normalised


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_normalise(
    hidden: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises a batch with its own statistics.

    Automatic differentiation would also store the centred signal. This stores its input only, which
    the convolution before it has written anyway.

    Args:
      hidden: [batch, time, channel].
      scale: [channel].
      bias: [channel].
      epsilon: added to the variance.

    Returns:
      The normalised batch, and its mean and variance [channel], which carry no gradient.
    """
    return _batch_normalise(hidden, scale, bias, epsilon)[0]


def _batch_normalise(hidden, scale, bias, epsilon):
    wide = hidden.astype(jnp.float32)
    mean = wide.mean((0, 1))
    var = jnp.maximum(0.0, jnp.square(wide).mean((0, 1)) - jnp.square(mean))
    inverse = jax.lax.rsqrt(var + epsilon)
    outputs = (_affine(hidden, mean, inverse * scale, bias), mean, var)
    return outputs, (hidden, scale, mean, inverse)


def _batch_normalise_backward(epsilon, residuals, output_gradients):
    hidden, scale, mean, inverse = residuals
    gradient = output_gradients[0].astype(jnp.float32)
    wide = hidden.astype(jnp.float32)
    count = hidden.shape[0] * hidden.shape[1]
    bias_gradient = gradient.sum((0, 1))
    product = (gradient * (wide - _row(mean))).sum((0, 1))
    # inverse * scale * (gradient - bias_gradient / count - (wide - mean) * tilt), without storing
    # `wide - mean`.
    tilt = jnp.square(inverse) * product / count
    centred = gradient - wide * _row(tilt) + _row(mean * tilt - bias_gradient / count)
    input_gradient = (centred * _row(inverse * scale)).astype(hidden.dtype)
    return prevent_recomputation(input_gradient), product * inverse, bias_gradient


batch_normalise.defvjp(_batch_normalise, _batch_normalise_backward)


def _affine(hidden, mean, scale, bias):
    # Not (hidden - mean) * scale + bias: XLA would store the difference for the backward pass,
    # which needs it too.
    wide = hidden.astype(jnp.float32) * _row(scale) + _row(bias - mean * scale)
    return wide.astype(hidden.dtype)


def _row(channels):
    return channels[None, None]


def relu(hidden: jax.Array) -> jax.Array:
    """max(hidden, 0). Its gradient needs only the output, which the next layer stores anyway."""
    return jnp.maximum(hidden, 0) if is_plain() else _relu(hidden)


@jax.custom_vjp
def _relu(hidden: jax.Array) -> jax.Array:
    return prevent_recomputation(jnp.maximum(hidden, 0))


def _relu_backward(output: jax.Array, output_gradient: jax.Array) -> tuple[jax.Array]:
    return (prevent_recomputation(jnp.where(output > 0, output_gradient, 0)),)


_relu.defvjp(lambda hidden: (_relu(hidden),) * 2, _relu_backward)


def prevent_recomputation(hidden: jax.Array) -> jax.Array:
    """Returns `hidden`, which XLA on a CPU then computes once instead of for each of its readers.

    XLA on a CPU recomputes cheap values for each reader, from inputs that it may recompute too.
    This was a third of all bytes that a bottleneck block read and wrote. XLA counts a division as
    expensive and does not repeat it; the division here costs nothing. An optimization_barrier does
    not help: XLA has removed it before it decides.
    """
    return choose(hidden, cpu=_divide_by_one, default=lambda hidden: hidden)


def _divide_by_one(hidden: jax.Array) -> jax.Array:
    # XLA would remove a division by a constant.
    return hidden / jnp.where(hidden == hidden, 1, 2).astype(hidden.dtype)


def max_pool(
    hidden: jax.Array, window: int, stride: int, padding: tuple[int, int] | None = None
) -> jax.Array:
    """Max pooling over time; the first of equal maxima gets the gradient.

    It consists of slices and comparisons. The gradient of XLA's reduce_window is a sequential
    search on a CPU.

    Args:
      hidden: [batch, time, channel].
      window: samples of a window.
      stride: samples from one window to the next.
      padding: samples before and after; None for "SAME".
    """
    time = hidden.shape[1]
    if padding is None:
        (padding,) = jax.lax.padtype_to_pads((time,), (window,), (stride,), "SAME")
    samples = (time + sum(padding) - window) // stride + 1
    hidden = jnp.pad(hidden, ((0, 0), padding, (0, 0)), constant_values=-jnp.inf)
    last = (samples - 1) * stride + 1
    slices = [hidden[:, first : first + last : stride] for first in range(window)]
    largest = slices[0]
    for other in slices[1:]:
        largest = jnp.where(other > largest, other, largest)
    return largest


def maximum_over_time(hidden: jax.Array) -> jax.Array:
    """[batch, time, channel] -> [batch, channel]; the first of equal maxima gets the gradient.

    The gradient of `hidden.max(1)` compares the maximum with the samples. XLA may have computed
    them again with another rounding, finds none that is equal, and divides zero by zero.
    """
    if is_plain():
        return hidden.max(1)
    first = jax.lax.stop_gradient(hidden).argmax(1, keepdims=True)
    chosen = jnp.arange(hidden.shape[1])[None, :, None] == first
    return jnp.where(chosen, hidden, 0).sum(1)


def average_pool(hidden: jax.Array) -> jax.Array:
    """Average pooling of two samples: [batch, time, channel] -> [batch, ceil(time / 2), channel].

    An odd last sample is not averaged.
    """
    time = hidden.shape[1]
    even = hidden[:, ::2]
    odd = jnp.pad(hidden[:, 1::2], ((0, 0), (0, time % 2), (0, 0)))
    counts = np.minimum(2, time - np.arange(0, time, 2)).astype(np.float32)
    return (even + odd) * (1 / counts).astype(hidden.dtype)[None, :, None]
