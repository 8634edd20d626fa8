"""One branch for each lead, side by side, as in BELL (Liu et al. 2024, doi:10.1016/j.cmpb.2024.108452).

The paper's multiple-branch skeleton has private weights; its abstract, which is what is public, says nothing of the
branches. Here a branch is a small residual network.
"""

import flax.linen as nn
import jax

from ecgjax.encoders.compact_resnet import CompactResnet


class LeadBranches(nn.Module):
    """A residual network for each lead, 0.54 M parameters for twelve; their embeddings, joined, are the embedding."""

    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each residual block of a branch."""
    kernel: int = 5
    """Samples that a convolution in a block spans."""
    shared: bool = False
    """Whether all leads go through the same weights."""
    dtype: str = "float32"
    """What convolutions and activations are computed in: float32 or bfloat16."""

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens and embedding, those of the leads joined.

        Tokens are [batch, ceil(time / 2**(blocks + 1)), lead * width], embeddings [batch, lead * 2 * width].
        """
        tokens, embeddings = self.branches(signal, train=train)
        return tokens.swapaxes(1, 2).reshape(len(signal), tokens.shape[2], -1), embeddings.reshape(
            len(signal), -1
        )

    def lead_embeddings(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, lead] -> [batch, lead, 2 * width]; a lead's does not depend on the others."""
        return self.branches(signal, train=train)[1]

    @nn.compact
    def branches(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, lead, time', width], embeddings [batch, lead, 2 * width]."""
        batch, time, leads = signal.shape
        branch = CompactResnet(self.widths, self.kernel, self.dtype, name="branch")
        if self.shared:
            tokens, embeddings = branch(signal.swapaxes(1, 2).reshape(-1, time, 1), train=train)
            return tokens.reshape(batch, leads, *tokens.shape[1:]), embeddings.reshape(
                batch, leads, -1
            )
        side_by_side = nn.vmap(
            lambda branch, signal: branch(signal, train=train),
            in_axes=2,
            out_axes=1,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
        )
        return side_by_side(branch, signal[..., None])
