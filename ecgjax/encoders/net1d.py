"""Net1D, the encoder of ECGFounder and CLEF.

ECGFounder: Li et al. 2024 (arXiv:2410.04133), 30.7 M parameters. CLEF: Shu et al. 2025
(arXiv:2512.02180), 448 thousand to 296 M parameters. It is Hong's Net1D (2020,
github.com/hsd1503/resnet1d) in one dimension: a RegNet with squeeze-and-excitation (Hu et al. 2018,
arXiv:1709.01507), here without its optional batch normalisation, which neither of them uses.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv, GroupedConv
from ecgjax.encoders.parts.layers import max_pool


class Net1d(nn.Module):
    """One convolution and stages of blocks; the embedding is the mean over time.

    The first convolution and each stage halve the time axis. The default is CLEF's small encoder.
    The published input is 5,000 samples in 10 s (500 Hz); any length works.
    """

    stem: int = 32
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (32, 64, 64, 128, 128, 256)
    """Channels of the stages; the last is the embedding's dimension."""
    depths: tuple[int, ...] = (1, 1, 2, 2, 2, 2)
    """Blocks of each stage."""
    ratio: float = 0.5
    """Channels inside a block, as a share of the stage's channels."""
    group_width: int = 8
    """A stage's grouped convolutions have its channels divided by this as number of groups."""
    kernel: int = 16
    """Kernel size of the first and of the grouped convolutions, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, time', widths[-1]], embedding [batch, widths[-1]].

        time' is ceil(time / 2 ** (1 + number of stages)).
        """
        del train  # no layer behaves differently in training
        stem = Conv(self.stem, self.kernel, 2, dtype=self.dtype, bias=True, name="stem")
        hidden = nn.swish(stem(signal))
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            for number in range(1, depth + 1):
                block = Block(
                    width,
                    middle=int(width * self.ratio),
                    groups=width // self.group_width,
                    kernel=self.kernel,
                    stride=2 if number == 1 else 1,
                    active_input=(stage, number) != (1, 1),
                    dtype=self.dtype,
                    name=f"stage{stage}_block{number}",
                )
                hidden = block(hidden)
        hidden = hidden.astype(jnp.float32)
        return hidden, hidden.mean(1)


class Block(nn.Module):
    """Convolutions of kernel size 1, `kernel` in groups and 1, a gate per channel, a shortcut.

    An activation precedes each convolution. The shortcut has no parameters: it is max-pooled if the
    block has a stride, and gets channels of zeros on both sides if the block adds channels.
    """

    width: int
    middle: int
    groups: int
    kernel: int
    stride: int
    active_input: bool
    """False in the first block: the activation after the first convolution precedes it."""
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / stride), width]."""
        pointwise = functools.partial(Conv, kernel_size=1, dtype=self.dtype, bias=True)
        grouped = GroupedConv(
            self.middle, self.kernel, self.groups, self.stride, self.dtype, name="conv"
        )
        branch = nn.swish(hidden) if self.active_input else hidden
        branch = pointwise(self.middle, name="reduce")(branch)
        branch = grouped(nn.swish(branch))
        branch = pointwise(self.width, name="expand")(nn.swish(branch))
        squeezed = nn.Dense(self.width // 2, name="squeeze")(branch.astype(jnp.float32).mean(1))
        gate = nn.sigmoid(nn.Dense(self.width, name="excite")(nn.swish(squeezed)))
        branch = branch * gate.astype(branch.dtype)[:, None]
        return branch + self._shortcut(hidden)

    def _shortcut(self, hidden: jax.Array) -> jax.Array:
        if self.stride > 1:
            # Padded with zeros, not with -inf: an odd last sample becomes max(sample, 0).
            padding = -hidden.shape[1] % self.stride
            hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))
            hidden = max_pool(hidden, self.stride, self.stride)
        added = self.width - hidden.shape[-1]
        return jnp.pad(hidden, ((0, 0), (0, 0), (added // 2, added - added // 2)))
