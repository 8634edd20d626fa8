"""What encoders with a context are made of: local tokens, a memory of those before each, and their pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.convolution import Conv
from ecgjax.encoders.layers import BatchNorm, relu


class ConvStack(nn.Module):
    """Convolutions, each followed by batch normalisation and ReLU."""

    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / product of strides), widths[-1]], for odd kernels."""
        layers = zip(self.widths, self.kernels, self.strides, strict=True)
        for number, (width, kernel, stride) in enumerate(layers, start=1):
            hidden = Conv(width, kernel, stride, kernel // 2, dtype=self.dtype, name=f"conv{number}")(hidden)
            hidden = relu(BatchNorm(name=f"norm{number}")(hidden, train=train))
        return hidden


class Lstm(nn.Module):
    """One layer of long short-term memory, beginning at zero; gates in the order input, forget, cell, output."""

    width: int
    dtype: str = "float32"
    """What products are computed in; the memory is float32."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> float32 [batch, time, width]."""
        lecun, orthogonal = nn.initializers.lecun_normal(), nn.initializers.orthogonal()
        entry = self.param("input", lecun, (hidden.shape[-1], 4 * self.width)).astype(self.dtype)
        recurrent = self.param("recurrent", orthogonal, (self.width, 4 * self.width)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (4 * self.width,))
        # What does not depend on the state at once, for all times: one product instead of one a sample.
        driven = (hidden.astype(self.dtype) @ entry).astype(jnp.float32) + bias[None, None]

        def step(state: tuple[jax.Array, jax.Array], drive: jax.Array):
            output, memory = state
            gates = drive + (output.astype(self.dtype) @ recurrent).astype(jnp.float32)
            enter, forget, cell, show = jnp.split(gates, 4, axis=-1)
            memory = jax.nn.sigmoid(forget) * memory + jax.nn.sigmoid(enter) * jnp.tanh(cell)
            output = jax.nn.sigmoid(show) * jnp.tanh(memory)
            return (output, memory), output

        start = jnp.zeros((len(hidden), self.width))
        _, outputs = jax.lax.scan(step, (start, start), driven.swapaxes(0, 1))
        return outputs.swapaxes(0, 1)


def concat_pool(tokens: jax.Array) -> jax.Array:
    """[batch, time, width] -> [batch, 3 * width]: the last token, the maximum and the mean over time."""
    return jnp.concatenate([tokens[:, -1], tokens.max(1), tokens.mean(1)], axis=-1)
