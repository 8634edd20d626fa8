"""The encoder of PCLR (Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862): the ResNet of Ribeiro et al. 2020
(doi:10.1038/s41467-020-15432-4) with a 320-dimensional embedding, 6.4 M parameters."""

import flax.linen as nn
import jax


class PclrResnet(nn.Module):
    """One convolution and four residual units, each a quarter as long in time; the embedding is the mean over time.

    Published for 4,096 samples of 10 s (409.6 Hz); any length of at least 256 samples works.
    """

    stem: int = 64
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (128, 196, 256, 320)
    """Channels of the residual units; the last is the embedding's dimension."""
    kernel: int = 16
    """Samples that a convolution spans."""
    downsample: int = 4
    """Factor by which each unit shortens the time axis."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 256), 320], embedding [batch, 320]."""
        hidden = _conv(self.stem, self.kernel, "stem")(signal)
        hidden = shortcut = nn.relu(_norm(train, "stem_norm")(hidden))
        for number, width in enumerate(self.widths, start=1):
            unit = ResidualUnit(width, self.kernel, self.downsample, name=f"unit{number}")
            hidden, shortcut = unit(hidden, shortcut, train=train)
        return hidden, hidden.mean(1)


class ResidualUnit(nn.Module):
    """Ribeiro's unit: the shortcut carries the sum before its normalisation from unit to unit."""

    width: int
    kernel: int
    downsample: int

    @nn.compact
    def __call__(self, hidden: jax.Array, shortcut: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Two [batch, time, channel] -> two [batch, ceil(time / downsample), width]: activated, and before it."""
        shortcut = nn.max_pool(shortcut, (self.downsample,), strides=(self.downsample,), padding="SAME")
        shortcut = _conv(self.width, 1, "shortcut")(shortcut)
        hidden = _conv(self.width, self.kernel, "conv1")(hidden)
        hidden = nn.relu(_norm(train, "norm1")(hidden))
        hidden = _conv(self.width, self.kernel, "conv2", stride=self.downsample)(hidden)
        total = hidden + shortcut
        return nn.relu(_norm(train, "norm2")(total)), total


def _conv(channels: int, kernel: int, name: str, stride: int = 1) -> nn.Conv:
    init = nn.initializers.he_normal()
    return nn.Conv(channels, (kernel,), strides=stride, use_bias=False, kernel_init=init, name=name)


def _norm(train: bool, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)
