"""What the encoders are made of: flax's Conv and BatchNorm and its pools in the form in which XLA runs them fast.

Values, parameter names, shapes and initial values are flax's. In flax's form XLA on a CPU transposes the whole signal
for the weight gradient of a convolution of one sample; a matrix product of rows needs no transpose. The rest is fewer
passes over the signal, on which a narrow 1-D network spends much of its time.

Parameters, batch statistics and embeddings are float32 whatever `dtype` the layers compute in.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


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
        kernel = self.param("kernel", self.kernel_init, (self.kernel, hidden.shape[-1], self.channels))
        hidden, kernel = hidden.astype(self.dtype), kernel.astype(self.dtype)
        if self.kernel == self.stride == 1 and not self.padding:
            # Rows first: XLA transposes the whole signal before a product that contracts batch and time as two axes.
            return (hidden.reshape(-1, hidden.shape[-1]) @ kernel[0]).reshape(*hidden.shape[:2], -1)
        pads = (
            _same(hidden.shape[1], self.kernel, self.stride) if self.padding is None else (self.padding, self.padding)
        )
        on_cpu = functools.partial(folded_conv, stride=self.stride, pads=pads)
        plain = functools.partial(conv, stride=self.stride, pads=pads)
        return jax.lax.platform_dependent(hidden, kernel, cpu=on_cpu, default=plain)


def conv(hidden: jax.Array, kernel: jax.Array, *, stride: int = 1, pads: tuple[int, int]) -> jax.Array:
    """[batch, time, in], [kernel, in, out] -> [batch, (time + sum(pads) - kernel) // stride + 1, out]."""
    layout = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(hidden, kernel, (stride,), [pads], dimension_numbers=layout)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense_conv(hidden: jax.Array, kernel: jax.Array, pads: tuple[int, int]) -> jax.Array:
    """`conv` of stride 1 whose gradients too are convolutions in the one layout that XLA is fast with on a CPU.

    It finds that layout by itself, but not within a loop (`lax.scan` over microbatches, several steps a dispatch):
    there the plain gradients took 60 times as long.
    """
    return conv(hidden, kernel, pads=pads)


def _dense_conv_back(pads: tuple[int, int], kept: tuple[jax.Array, jax.Array], slope: jax.Array):
    hidden, kernel = kept
    reach = len(kernel) - 1
    towards = conv(slope, kernel[::-1].swapaxes(1, 2), pads=(reach - pads[0], reach - pads[1]))
    by_input = conv(hidden.transpose(2, 1, 0), slope.swapaxes(0, 1), pads=pads)  # [in, kernel, out]
    return towards, by_input.swapaxes(0, 1)


dense_conv.defvjp(lambda hidden, kernel, pads: (dense_conv(hidden, kernel, pads), (hidden, kernel)), _dense_conv_back)


def folded_conv(hidden: jax.Array, kernel: jax.Array, *, stride: int, pads: tuple[int, int]) -> jax.Array:
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
        hidden, jnp.zeros((), hidden.dtype), ((0, 0, 0), (pads[0], groups * stride - time - pads[0], 0), (0, 0, 0))
    )
    kernel = jnp.pad(kernel, ((0, taps * stride - kernel.shape[0]), (0, 0), (0, 0)))
    folded = hidden.reshape(batch, groups, stride * channels)
    return dense_conv(folded, kernel.reshape(taps, stride * channels, -1), (0, 0))


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
            return _affine(hidden, mean.value, jax.lax.rsqrt(var.value + self.epsilon) * scale, bias)
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
    return (towards * _row(inverse * scale)).astype(hidden.dtype), product * inverse, total


normalise.defvjp(_normalise, _normalise_back)


def _affine(hidden, mean, scale, bias):
    # Not (hidden - mean) * scale + bias: XLA would store the difference for the backward pass, which shares it.
    return (hidden.astype(jnp.float32) * _row(scale) + _row(bias - mean * scale)).astype(hidden.dtype)


def _row(channels):
    return channels[None, None]


@jax.custom_vjp
def relu(hidden: jax.Array) -> jax.Array:
    """max(hidden, 0). Its gradient needs the output alone, which the next layer keeps anyway."""
    return jnp.maximum(hidden, 0)


relu.defvjp(
    lambda hidden: (relu(hidden),) * 2,
    lambda output, slope: (jnp.where(output > 0, slope, 0),),
)


def max_pool(hidden: jax.Array, window: int, stride: int, pads: tuple[int, int] | None = None) -> jax.Array:
    """Maximum over windows of time [batch, time, channel]; without `pads` "SAME". The first of equals gets the slope.

    Slices and comparisons instead of XLA's reduce_window, whose gradient is a sequential search on a CPU.
    """
    time = hidden.shape[1]
    left, right = _same(time, window, stride) if pads is None else pads
    samples = (time + left + right - window) // stride + 1
    hidden = jnp.pad(hidden, ((0, 0), (left, right), (0, 0)), constant_values=-jnp.inf)
    best, *others = (hidden[:, first : first + (samples - 1) * stride + 1 : stride] for first in range(window))
    for other in others:
        best = jnp.where(other > best, other, best)
    return best


def halve(hidden: jax.Array) -> jax.Array:
    """Means of two neighbours, [batch, time, channel] -> [batch, ceil(time / 2), channel]; an odd last one stays."""
    batch, time, channels = hidden.shape
    pairs = jnp.pad(hidden, ((0, 0), (0, time % 2), (0, 0))).reshape(batch, -1, 2, channels)
    counts = np.minimum(2, time - np.arange(0, time, 2)).astype(np.float32)
    return pairs.sum(2) * (1 / counts).astype(hidden.dtype)[None, :, None]


def _same(time: int, window: int, stride: int) -> tuple[int, int]:
    """Samples that "SAME" padding adds before and after."""
    total = max((-(-time // stride) - 1) * stride + window - time, 0)
    return total // 2, total - total // 2


def bfloat16_deviation(encoder: nn.Module, *, samples: int, leads: int = 12) -> float:
    """How far an encoder in bfloat16 is from itself in float32, on this device.

    XLA's bfloat16 convolutions have failed on some GPUs (jax-ml/jax#37922); call this before a run that relies on them.

    Returns:
      The larger of the relative errors (2-norm) of the embedding and of the parameters' gradient, on noise; NaN if
      bfloat16 makes one.
    """
    signal = jax.random.normal(jax.random.key(0), (8, samples, leads))
    variables = jax.jit(functools.partial(encoder.init, train=False))(jax.random.key(1), signal)

    def run(dtype):
        def total(params):
            state = {**variables, "params": params}
            (_, embedding), _ = encoder.clone(dtype=dtype).apply(state, signal, train=True, mutable=["batch_stats"])
            return (embedding * weights).mean(), embedding

        weights = jnp.cos(jnp.arange(8.0))[:, None]
        gradient, embedding = jax.jit(jax.grad(total, has_aux=True))(variables["params"])
        return embedding, jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(gradient)])

    pairs = zip(run("bfloat16"), run("float32"), strict=True)
    return float(max(jnp.linalg.norm(half - full) / jnp.linalg.norm(full) for half, full in pairs))
