"""Two paths: one reads all leads together, the other reads each lead alone.

Branches for single leads (BELL: Liu et al. 2024, doi:10.1016/j.cmpb.2024.108452) help a network
over all leads with superclasses and infarction, and take less time in this form than alone
(docs/results.md, *Recipes*).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.parts.layers import average_pool
from ecgjax.errors import InputError


class TwoPathResnet(nn.Module):
    """A ResNet over all leads beside a small one that reads each lead with the same weights.

    The embedding joins both, [batch, 1920], with the blocks and leads of the defaults. 0.75 M
    parameters. III, aVR, aVL and aVF are sums of I and II: the path of single leads leaves them
    out, the path of all leads reads them.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each residual block of the path of all leads."""
    read_out_blocks: int = 3
    """Number of last blocks of that path that make up the embedding."""
    lead_widths: tuple[int, ...] = (32, 64)
    """Channels of each residual block of the path of single leads."""
    lead_stem: int = 24
    """Channels of the first layer of the path of single leads. Its kernel has 11 samples."""
    lead_stride: int = 4
    """Samples from one output of that layer to the next, a power of 2."""
    leads: tuple[int, ...] = (0, 1, 6, 7, 8, 9, 10, 11)
    """Leads that the path of single leads reads, by their places in the input from 0: I, II, V1 to
    V6."""
    kernel: int = 5
    """Kernel size of the convolutions in a block, in samples."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    @property
    def parts(self) -> tuple[int, int]:
        """Widths of the two parts of the embedding, for objectives that contrast each alone."""
        joint = 2 * sum(self.widths[-self.read_out_blocks :])
        return joint, 2 * self.lead_widths[-1] * len(self.leads)

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings.

        Args:
          signal: [batch, time, lead].
          train: use and update batch statistics.

        Returns:
          Tokens of both paths [batch, ceil(time / 2**(blocks + 1)), width + lead width * leads],
          where pairs of tokens of the path with more of them are averaged (as many as the other
          path has), and the embedding [batch, sum(parts)].

        Raises:
          InputError: `leads` names a lead that the input lacks, or averaging of pairs does not give
            both paths the same number of tokens.
        """
        batch, time, count = signal.shape
        if max(self.leads) >= count:
            raise InputError(
                f"two_path_resnet: leads {self.leads} of an input of {count} leads; give "
                f"--encoder-settings leads=[...] with places below {count}"
            )
        joint = CompactResnet(
            self.widths, self.kernel, self.dtype, self.read_out_blocks, name="joint"
        )
        tokens, embedding = joint(signal, train=train)
        single = CompactResnet(
            self.lead_widths,
            self.kernel,
            self.dtype,
            stem=self.lead_stem,
            stem_kernel=11,
            stem_stride=self.lead_stride,
            name="single",
        )
        # A lead is a recording of its own to this path.
        leads = signal[:, :, np.array(self.leads)].swapaxes(1, 2).reshape(-1, time, 1)
        lead_tokens, per_lead = single(leads, train=train)
        embedding = jnp.concatenate([embedding, per_lead.reshape(batch, -1)], axis=-1)
        lead_tokens = lead_tokens.reshape(batch, len(self.leads), -1, lead_tokens.shape[-1])
        lead_tokens = lead_tokens.swapaxes(1, 2).reshape(batch, lead_tokens.shape[2], -1)
        count = min(tokens.shape[1], lead_tokens.shape[1])
        paths = [_halve(tokens, count), _halve(lead_tokens, count)]
        return jnp.concatenate(paths, axis=-1), embedding


def _halve(tokens: jax.Array, count: int) -> jax.Array:
    """Averages pairs of tokens until `count` are left: [batch, token, width]."""
    while tokens.shape[1] > count:
        tokens = average_pool(tokens)
    if tokens.shape[1] != count:
        raise InputError(
            f"two_path_resnet: a path has {tokens.shape[1]} tokens after halving, and the other "
            f"one {count}; give a power of 2 as lead_stride"
        )
    return tokens
