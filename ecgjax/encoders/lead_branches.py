"""One branch per lead, as in BELL (Liu et al. 2024, doi:10.1016/j.cmpb.2024.108452).

In the paper each branch has its own weights. Only the abstract is public, and it does not describe
the branches. Here a branch is a small ResNet.
"""

import flax.linen as nn
import jax

from ecgjax.encoders.compact_resnet import CompactResnet


class LeadBranches(nn.Module):
    """A ResNet per lead; the embedding joins those of the leads. 0.54 M parameters for 12 leads."""

    widths: tuple[int, ...] = (16, 32, 64)
    """Channels of each residual block of a branch."""
    kernel: int = 5
    """Kernel size of the convolutions in a block, in samples."""
    shared: bool = False
    """Use the same weights for all leads."""
    dtype: str = "float32"
    """Precision of convolutions and activations: float32 or bfloat16."""

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings [batch, time, lead].

        Returns:
          Tokens [batch, ceil(time / 2**(blocks + 1)), lead * width] and embeddings
          [batch, lead * 2 * width], those of the leads joined.
        """
        tokens, embeddings = self.branches(signal, train=train)
        batch = signal.shape[0]
        joined = tokens.swapaxes(1, 2).reshape(batch, tokens.shape[2], -1)
        return joined, embeddings.reshape(batch, -1)

    def lead_embeddings(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Embeddings of single leads: [batch, time, lead] -> [batch, lead, 2 * width].

        The embedding of a lead does not depend on the other leads.
        """
        return self.branches(signal, train=train)[1]

    @nn.compact
    def branches(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes each lead of recordings [batch, time, lead].

        Returns:
          Tokens [batch, lead, time', width] and embeddings [batch, lead, 2 * width].
        """
        batch, time, leads = signal.shape
        branch = CompactResnet(self.widths, self.kernel, self.dtype, name="branch")
        if self.shared:
            tokens, embeddings = branch(signal.swapaxes(1, 2).reshape(-1, time, 1), train=train)
            tokens = tokens.reshape(batch, leads, *tokens.shape[1:])
            return tokens, embeddings.reshape(batch, leads, -1)
        per_lead = nn.vmap(
            lambda branch, signal: branch(signal, train=train),
            in_axes=2,
            out_axes=1,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
        )
        return per_lead(branch, signal[..., None])
