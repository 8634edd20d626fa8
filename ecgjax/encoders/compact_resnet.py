"""A small residual encoder: strided basic blocks, 0.7 M parameters, made for pre-training on a laptop's CPU."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class CompactResnet(nn.Module):
    """Residual network whose every block halves the time axis; the widest layers see the fewest samples.

    The embedding joins the mean and the maximum over time: rhythm (one early beat in ten seconds) shows in the maximum,
    morphology in the mean.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each residual block."""
    kernel: int = 5
    """Samples that a convolution in a block spans."""

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 2**(blocks + 1)), width], embedding [batch, 2 * width]."""
        hidden = nn.Conv(self.widths[0], (7,), strides=2, use_bias=False, name="stem")(signal)
        hidden = nn.relu(_norm(train, "stem_norm")(hidden))
        for number, width in enumerate(self.widths, start=1):
            hidden = BasicBlock(width, self.kernel, name=f"block{number}")(hidden, train=train)
        return hidden, jnp.concatenate([hidden.mean(1), hidden.max(1)], axis=-1)


class BasicBlock(nn.Module):
    """Two convolutions, the first with stride 2, around a pooled and widened shortcut."""

    width: int
    kernel: int

    @nn.compact
    def __call__(self, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, channel] -> [batch, ceil(time / 2), width]."""
        shortcut = nn.avg_pool(hidden, (2,), strides=(2,), padding="SAME", count_include_pad=False)
        shortcut = _norm(train, "shortcut_norm")(nn.Conv(self.width, (1,), use_bias=False, name="shortcut")(shortcut))
        hidden = nn.Conv(self.width, (self.kernel,), strides=2, use_bias=False, name="conv1")(hidden)
        hidden = nn.relu(_norm(train, "norm1")(hidden))
        hidden = nn.Conv(self.width, (self.kernel,), use_bias=False, name="conv2")(hidden)
        return nn.relu(shortcut + _norm(train, "norm2")(hidden))


def _norm(train: bool, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)
