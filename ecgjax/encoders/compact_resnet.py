"""A small residual encoder: strided basic blocks, 0.7 M parameters, made for pre-training on a laptop's CPU."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, halve, relu


class CompactResnet(nn.Module):
    """Residual network whose every block halves the time axis; the widest layers see the fewest samples.

    The embedding joins the mean and the maximum over time: rhythm (one early beat in ten seconds) shows in the maximum,
    morphology in the mean.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each residual block."""
    kernel: int = 5
    """Samples that a convolution in a block spans."""
    dtype: str = "float32"
    """What convolutions and activations are computed in: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 2**(blocks + 1)), width], embedding [batch, 2 * width]."""
        hidden = Conv(self.widths[0], 7, 2, dtype=self.dtype, name="stem")(signal)
        hidden = relu(BatchNorm(name="stem_norm")(hidden, train=train))
        for number, width in enumerate(self.widths, start=1):
            hidden = BasicBlock(width, self.kernel, self.dtype, name=f"block{number}")(
                hidden, train=train
            )
        hidden = hidden.astype(jnp.float32)
        return hidden, jnp.concatenate([hidden.mean(1), hidden.max(1)], axis=-1)


class BasicBlock(nn.Module):
    """Two convolutions, the first with stride 2, around a pooled and widened shortcut."""

    width: int
    kernel: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / 2), width]."""
        conv = functools.partial(Conv, self.width, dtype=self.dtype)
        shortcut = BatchNorm(name="shortcut_norm")(
            conv(1, name="shortcut")(halve(hidden)), train=train
        )
        hidden = conv(self.kernel, 2, name="conv1")(hidden)
        hidden = relu(BatchNorm(name="norm1")(hidden, train=train))
        hidden = conv(self.kernel, name="conv2")(hidden)
        return relu(shortcut + BatchNorm(name="norm2")(hidden, train=train))
