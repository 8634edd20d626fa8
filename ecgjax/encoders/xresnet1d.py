"""The xresnet1d family of the PTB-XL benchmark.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989. It is He et al.'s "bag of tricks" ResNet
(arXiv:1812.01187) in one dimension. Unlike in the image network, all four stages have 64 channels
(256 after the bottleneck's expansion): xresnet1d50 has 0.89 M parameters.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import (
    BatchNorm,
    average_pool,
    max_pool,
    maximum_over_time,
    relu,
)


class XResnet1d(nn.Module):
    """Stem of three convolutions, four stages of bottleneck blocks.

    The embedding is the mean and the maximum over time.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of each stage; (3, 4, 6, 3) is xresnet1d50, (3, 4, 23, 3) is xresnet1d101."""
    stem: tuple[int, ...] = (32, 32, 64)
    """Channels of the stem's convolutions."""
    width: int = 64
    """Channels inside a bottleneck."""
    expansion: int = 4
    """Channels after a bottleneck, as a multiple of `width`."""
    kernel: int = 5
    """Kernel size of the convolutions, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 32), 256], embedding [batch, 512]."""
        hidden = signal
        for number, channels in enumerate(self.stem):
            layer = ConvNorm(
                channels,
                self.kernel,
                stride=1 if number else 2,
                dtype=self.dtype,
                name=f"stem{number + 1}",
            )
            hidden = relu(layer(hidden, train=train))
        hidden = max_pool(hidden, window=3, stride=2, padding=(1, 1))
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                stride = 2 if stage and block == 0 else 1
                bottleneck = Bottleneck(
                    self.width,
                    self.expansion,
                    self.kernel,
                    stride,
                    self.dtype,
                    name=f"stage{stage + 1}_block{block + 1}",
                )
                hidden = bottleneck(hidden, train=train)
        hidden = hidden.astype(jnp.float32)
        return hidden, jnp.concatenate([hidden.mean(1), maximum_over_time(hidden)], axis=-1)


class Bottleneck(nn.Module):
    """Convolutions of kernel size 1, `kernel` and 1, with a shortcut.

    The shortcut is pooled if the block has a stride, and widened if it adds channels.
    """

    width: int
    expansion: int
    kernel: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / stride), width * expansion]."""
        layer = functools.partial(ConvNorm, dtype=self.dtype)
        channels = self.width * self.expansion
        shortcut = hidden
        if self.stride > 1:
            shortcut = average_pool(shortcut)
        if hidden.shape[-1] != channels:
            shortcut = layer(channels, 1, name="shortcut")(shortcut, train=train)
        hidden = relu(layer(self.width, 1, name="reduce")(hidden, train=train))
        hidden = relu(layer(self.width, self.kernel, self.stride, name="conv")(hidden, train=train))
        # The last scale starts at zero, so a block starts as the identity (arXiv:1812.01187,
        # section 3.1).
        expand = layer(channels, 1, scale_init=nn.initializers.zeros, name="expand")
        hidden = expand(hidden, train=train)
        return relu(shortcut + hidden)


class ConvNorm(nn.Module):
    """Convolution without bias and batch normalisation."""

    channels: int
    kernel: int
    stride: int = 1
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / stride), channels]."""
        init = nn.initializers.he_normal()
        conv = Conv(
            self.channels, self.kernel, self.stride, self.kernel // 2, init, self.dtype, name="conv"
        )
        return BatchNorm(self.scale_init, name="norm")(conv(hidden), train=train)
