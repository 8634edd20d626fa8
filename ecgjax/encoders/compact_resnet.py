"""A small ResNet for pre-training on a laptop's CPU: strided basic blocks, 0.7 M parameters."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, average_pool, maximum_over_time, relu


class CompactResnet(nn.Module):
    """ResNet in which every block halves the time axis.

    The widest layers thus have the fewest samples. The embedding is the mean and the maximum over
    time: the maximum shows rhythm (one early beat in ten seconds), the mean shows morphology.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each residual block."""
    kernel: int = 5
    """Kernel size of the convolutions in a block, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings.

        Args:
          signal: [batch, time, lead].
          train: use and update batch statistics.

        Returns:
          Tokens [batch, ceil(time / 2**(blocks + 1)), width] and embedding [batch, 2 * width].
        """
        hidden = Conv(self.widths[0], 7, 2, dtype=self.dtype, name="stem")(signal)
        hidden = relu(BatchNorm(name="stem_norm")(hidden, train=train))
        for number, width in enumerate(self.widths, start=1):
            block = BasicBlock(width, self.kernel, self.dtype, name=f"block{number}")
            hidden = block(hidden, train=train)
        hidden = hidden.astype(jnp.float32)
        return hidden, jnp.concatenate([hidden.mean(1), maximum_over_time(hidden)], axis=-1)


class BasicBlock(nn.Module):
    """Two convolutions, the first with stride 2; the shortcut is pooled and widened."""

    width: int
    kernel: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / 2), width]."""
        conv = functools.partial(Conv, self.width, dtype=self.dtype)
        shortcut = conv(1, name="shortcut")(average_pool(hidden))
        shortcut = BatchNorm(name="shortcut_norm")(shortcut, train=train)
        hidden = conv(self.kernel, 2, name="conv1")(hidden)
        hidden = relu(BatchNorm(name="norm1")(hidden, train=train))
        hidden = conv(self.kernel, name="conv2")(hidden)
        return relu(shortcut + BatchNorm(name="norm2")(hidden, train=train))
