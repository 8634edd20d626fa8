"""The encoder of PCLR (Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862), 6.4 M parameters.

It is the ResNet of Ribeiro et al. 2020 (doi:10.1038/s41467-020-15432-4) with a 320-dimensional
embedding.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv
from ecgjax.encoders.parts.layers import BatchNorm, max_pool, relu


class PclrResnet(nn.Module):
    """One convolution and four residual units; the embedding is the mean over time.

    Each unit shortens the time axis to a quarter. The published input is 4,096 samples in 10 s
    (409.6 Hz); any length of at least 256 samples works.
    """

    stem: int = 64
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (128, 196, 256, 320)
    """Channels of the residual units; the last is the embedding's dimension."""
    kernel: int = 16
    """Kernel size of the convolutions, in samples."""
    downsample: int = 4
    """Factor by which each unit shortens the time axis."""
    epsilon: float = 1e-5
    """Added to the variance in batch normalisation; the published weights need 1e-3."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 256), 320], embedding [batch, 320]."""
        stem = Conv(
            self.stem,
            self.kernel,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="stem",
        )
        norm = BatchNorm(epsilon=self.epsilon, name="stem_norm")
        hidden = relu(norm(stem(signal), train=train))
        shortcut = hidden
        for number, width in enumerate(self.widths, start=1):
            unit = ResidualUnit(
                width, self.kernel, self.downsample, self.epsilon, self.dtype, name=f"unit{number}"
            )
            hidden, shortcut = unit(hidden, shortcut, train=train)
        hidden = hidden.astype(jnp.float32)
        return hidden, hidden.mean(1)


class ResidualUnit(nn.Module):
    """Ribeiro's unit: the shortcut takes the sum, before its normalisation, to the next unit."""

    width: int
    kernel: int
    downsample: int
    epsilon: float
    dtype: str

    @nn.compact
    def __call__(
        self, hidden: jax.Array, shortcut: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Applies the unit to activations and shortcut, both [batch, time, channel].

        Returns:
          Activations and the sum before normalisation, both
          [batch, ceil(time / downsample), width].
        """
        conv = functools.partial(Conv, kernel_init=nn.initializers.he_normal(), dtype=self.dtype)
        norm = functools.partial(BatchNorm, epsilon=self.epsilon)
        shortcut = max_pool(shortcut, self.downsample, self.downsample)
        shortcut = conv(self.width, 1, name="shortcut")(shortcut)
        hidden = conv(self.width, self.kernel, name="conv1")(hidden)
        hidden = relu(norm(name="norm1")(hidden, train=train))
        hidden = conv(self.width, self.kernel, self.downsample, name="conv2")(hidden)
        total = hidden + shortcut
        return relu(norm(name="norm2")(total, train=train)), total
