"""What the encoders are made of beside convolutions: flax's BatchNorm and pools in fewer passes over the signal, since
a narrow 1-D network spends much of its time on such passes.

Values, parameter names, shapes and initial values are flax's. Parameters, batch statistics and embeddings are float32
whatever the layers compute in.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.parts.convolution import same_padding


class BatchNorm(nn.Module):
    """Batch normalisation over batch and time; statistics move by a tenth a step (flax's momentum 0.9)."""

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
            return _affine(
                hidden, mean.value, jax.lax.rsqrt(var.value + self.epsilon) * scale, bias
            )
        normal, batch_mean, batch_var = normalise(hidden, scale, bias, self.epsilon)  # pyright: ignore[reportGeneralTypeIssues]
        if not self.is_initializing():
            mean.value = 0.9 * mean.value + 0.1 * batch_mean
            var.value = 0.9 * var.value + 0.1 * batch_var
        return normal


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(hidden: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float):
    """(normalised, mean, variance) of [batch, time, channel]; no gradient goes through the last two.

    Automatic differentiation would keep the centred signal too; this keeps nothing but its input, which the convolution
    before has just written.
    """
    return _normalise(hidden, scale, bias, epsilon)[0]


def _normalise(hidden, scale, bias, epsilon):
    wide = hidden.astype(jnp.float32)
    mean = wide.mean((0, 1))
    var = jnp.maximum(0.0, jnp.square(wide).mean((0, 1)) - jnp.square(mean))
    inverse = jax.lax.rsqrt(var + epsilon)
    return (_affine(hidden, mean, inverse * scale, bias), mean, var), (hidden, scale, mean, inverse)


def _normalise_back(epsilon, kept, cotangents):
    hidden, scale, mean, inverse = kept
    slope, wide = cotangents[0].astype(jnp.float32), hidden.astype(jnp.float32)
    count = hidden.shape[0] * hidden.shape[1]
    total, product = slope.sum((0, 1)), (slope * (wide - _row(mean))).sum((0, 1))
    # inverse * scale * (slope - total / count - (wide - mean) * tilt), without storing `wide - mean`.
    tilt = jnp.square(inverse) * product / count
    towards = slope - wide * _row(tilt) + _row(mean * tilt - total / count)
    return once((towards * _row(inverse * scale)).astype(hidden.dtype)), product * inverse, total


normalise.defvjp(_normalise, _normalise_back)


def _affine(hidden, mean, scale, bias):
    # Not (hidden - mean) * scale + bias: XLA would store the difference for the backward pass, which shares it.
    return (hidden.astype(jnp.float32) * _row(scale) + _row(bias - mean * scale)).astype(
        hidden.dtype
    )


def _row(channels):
    return channels[None, None]


@jax.custom_vjp
def relu(hidden: jax.Array) -> jax.Array:
    """max(hidden, 0). Its gradient needs the output alone, which the next layer keeps anyway."""
    return once(jnp.maximum(hidden, 0))


relu.defvjp(
    lambda hidden: (relu(hidden),) * 2,
    lambda output, slope: (once(jnp.where(output > 0, slope, 0)),),
)


def once(hidden: jax.Array) -> jax.Array:
    """`hidden` itself, computed once where several operations read it on a CPU.

    There XLA computes what is cheap anew for each reader, from inputs that may be computed anew in their turn: a third
    of all that a bottleneck's passes read and wrote. It takes a division for dear, but this one costs nothing. Its
    optimization_barrier is gone by the time it decides.
    """
    return jax.lax.platform_dependent(hidden, cpu=_divided_by_one, default=lambda hidden: hidden)


def _divided_by_one(hidden: jax.Array) -> jax.Array:
    return hidden / jnp.where(hidden == hidden, 1, 2).astype(
        hidden.dtype
    )  # by a constant, it would be simplified


def max_pool(
    hidden: jax.Array, window: int, stride: int, pads: tuple[int, int] | None = None
) -> jax.Array:
    """Maximum over windows of time [batch, time, channel]; without `pads` "SAME". The first of equals gets the slope.

    Slices and comparisons instead of XLA's reduce_window, whose gradient is a sequential search on a CPU.
    """
    time = hidden.shape[1]
    left, right = same_padding(time, window, stride) if pads is None else pads
    samples = (time + left + right - window) // stride + 1
    hidden = jnp.pad(hidden, ((0, 0), (left, right), (0, 0)), constant_values=-jnp.inf)
    best, *others = (
        hidden[:, first : first + (samples - 1) * stride + 1 : stride] for first in range(window)
    )
    for other in others:
        best = jnp.where(other > best, other, best)
    return best


def halve(hidden: jax.Array) -> jax.Array:
    """Means of two neighbours, [batch, time, channel] -> [batch, ceil(time / 2), channel]; an odd last one stays."""
    time = hidden.shape[1]
    first, second = hidden[:, ::2], jnp.pad(hidden[:, 1::2], ((0, 0), (0, time % 2), (0, 0)))
    counts = np.minimum(2, time - np.arange(0, time, 2)).astype(np.float32)
    return (first + second) * (1 / counts).astype(hidden.dtype)[None, :, None]
