"""A U-Net over time (Ronneberger et al. 2015, arXiv:1505.04597), for tasks that label every sample.

There is one token per input sample. Widths and depth are those of the 2-D network of Chaitanya et
al. 2023 (arXiv:2112.09645).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, max_pool, maximum_over_time, relu


class Unet1d(nn.Module):
    """Encoder that halves the time axis at each level, and decoder with skip connections.

    1.09 M parameters for 12 leads. The embedding is the mean and the maximum over time of the
    lowest level, whose receptive field is some seconds at 100 Hz. An objective on the embedding
    alone does not train the decoder.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    """Channels of each level, beginning at the input's rate."""
    kernel: int = 5
    """Kernel size of the convolutions, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings [batch, time, lead].

        Returns:
          Tokens [batch, time, widths[0]] and embedding [batch, 2 * widths[-1]].
        """
        hidden = signal
        skips = []
        for number, width in enumerate(self.widths, start=1):
            hidden = max_pool(hidden, 2, 2) if skips else hidden
            block = TwoConvolutions(width, self.kernel, self.dtype, name=f"down{number}")
            hidden = block(hidden, train=train)
            skips.append(hidden)
        lowest = skips.pop().astype(jnp.float32)
        for number, width in reversed(list(enumerate(self.widths[:-1], start=1))):
            skip = skips.pop()
            upsampled = jnp.repeat(hidden, 2, axis=1)[:, : skip.shape[1]]
            block = TwoConvolutions(width, self.kernel, self.dtype, name=f"up{number}")
            hidden = block(jnp.concatenate([skip, upsampled], axis=-1), train=train)
        embedding = jnp.concatenate([lowest.mean(1), maximum_over_time(lowest)], axis=-1)
        return hidden.astype(jnp.float32), embedding


class TwoConvolutions(nn.Module):
    """Two layers of convolution, batch normalisation and ReLU."""

    width: int
    kernel: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, time, width]."""
        for number in (1, 2):
            hidden = Conv(self.width, self.kernel, dtype=self.dtype, name=f"conv{number}")(hidden)
            hidden = relu(BatchNorm(name=f"norm{number}")(hidden, train=train))
        return hidden
