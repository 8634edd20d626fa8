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
    time of the last blocks: the maximum shows rhythm (one early beat in ten seconds), the mean
    shows morphology, and an earlier block shows shorter waves than the last one.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each residual block."""
    kernel: int = 5
    """Kernel size of the convolutions in a block, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""
    read_out_blocks: int = 1
    """Number of last blocks that make up the embedding."""
    stem: int | None = None
    """Channels of the first layer. None: those of the first block."""
    stem_kernel: int = 7
    """Kernel size of the first layer, in samples."""
    stem_stride: int = 2
    """Samples from one output of the first layer to the next."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings.

        Args:
          signal: [batch, time, lead].
          train: use and update batch statistics.

        Returns:
          Tokens [batch, ceil(time / (stem_stride * 2**blocks)), width] and embedding [batch,
          2 * width], with the widths of all blocks of the read-out if there are several.
        """
        stem = self.stem or self.widths[0]
        conv = Conv(stem, self.stem_kernel, self.stem_stride, dtype=self.dtype, name="stem")
        hidden = relu(BatchNorm(name="stem_norm")(conv(signal), train=train))
        embedding = []
        for number, width in enumerate(self.widths, start=1):
            block = BasicBlock(width, self.kernel, self.dtype, name=f"block{number}")
            hidden = block(hidden, train=train)
            if number > len(self.widths) - self.read_out_blocks:
                tokens = hidden.astype(jnp.float32)
                embedding += [tokens.mean(1), maximum_over_time(tokens)]
        return hidden.astype(jnp.float32), jnp.concatenate(embedding, axis=-1)


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
