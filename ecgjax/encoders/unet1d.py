"""A U-Net over time (Ronneberger et al. 2015, arXiv:1505.04597): tokens at the rate of the input, for what is to be
said of every sample. Widths and depth are those of Chaitanya et al. 2023 (arXiv:2112.09645) in two dimensions."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, max_pool, relu


class Unet1d(nn.Module):
    """Halves the time axis level by level, and returns to it over skip connections; 1.09 M parameters for 12 leads.

    The embedding joins the mean and the maximum over time of the lowest level, which sees some seconds at 100 Hz. An
    objective that looks at the embedding alone leaves the way back as it is.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    """Channels of each level, that of the input first."""
    kernel: int = 5
    """Samples that a convolution spans."""
    dtype: str = "float32"
    """What convolutions and activations are computed in: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, time, widths[0]], embedding [batch, 2 * widths[-1]]."""
        hidden, skips = signal, []
        for number, width in enumerate(self.widths, start=1):
            hidden = max_pool(hidden, 2, 2) if skips else hidden
            hidden = TwoConvolutions(width, self.kernel, self.dtype, name=f"down{number}")(
                hidden, train=train
            )
            skips.append(hidden)
        lowest = skips.pop().astype(jnp.float32)
        for number, width in reversed(list(enumerate(self.widths[:-1], start=1))):
            skip = skips.pop()
            hidden = jnp.concatenate(
                [skip, jnp.repeat(hidden, 2, axis=1)[:, : skip.shape[1]]], axis=-1
            )
            hidden = TwoConvolutions(width, self.kernel, self.dtype, name=f"up{number}")(
                hidden, train=train
            )
        return hidden.astype(jnp.float32), jnp.concatenate([lowest.mean(1), lowest.max(1)], axis=-1)


class TwoConvolutions(nn.Module):
    """Twice convolution, batch normalisation, ReLU."""

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
