"""A vision transformer (ViT) in one dimension: each patch of the recording is a token.

With patches of all leads over 25 samples it is the encoder of Weimann & Conrad's ECG-JEPA
(https://github.com/kweimann/ECG-JEPA, configs/pretrain/ViTXS_ptbxl.yaml: 500 Hz, so 50 ms). It has
3,600,000 parameters, the published number for the XS size, and 14.3 M with width 384 and 6 heads
(S).

With patches of one lead it is the encoder of Sawano et al. 2024 (250 samples at 500 Hz) and, with
separators, of ST-MEM (arXiv:2402.09450; 75 samples at 250 Hz). There are three differences. They
remove a patch's amplitude by layer norms before and after the embedding; here amplitudes stay.
Their positional encodings are learned; here those of time are sinusoidal. They normalise the mean
of the tokens; here tokens are normalised before their mean.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL, Transformer, sinusoidal_positions


class Vit1d(nn.Module):
    """Patch embedding, positional encoding, transformer; the embedding is the mean of the tokens.

    Methods that mask tokens call `patches`, and `encode` with the visible patches.
    """

    width: int = 192
    """Channels of a token."""
    layers: int = 8
    """Number of transformer blocks."""
    heads: int = 4
    """Attention heads of a block."""
    patch: int = 25
    """Samples of a patch."""
    lead_patches: bool = False
    """Use patches of a single lead; otherwise a patch has all leads."""
    registers: int = 1
    """Learned register tokens, which collect global information; they are no part of the output."""
    separators: bool = False
    """Add one learned token per lead, ST-MEM's SEP. ST-MEM has two, which are equal: both have
    position zero."""
    dtype: str = "float32"
    """Precision of the computation: float32 or bfloat16."""

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings [batch, time, lead].

        Returns:
          Tokens [batch, ceil(time / patch), width] and embedding [batch, width]. With
          `lead_patches` a token is the mean of the leads' tokens at that time.
        """
        patches = self.patches(signal)
        tokens, embedding = self.encode(patches)
        return tokens.reshape(*patches.shape[:3], self.width).mean(1), embedding

    def patches(self, signal: jax.Array) -> jax.Array:
        """Cuts recordings into patches: [batch, time, lead] -> [batch, row, column, value]."""
        return cut_patches(signal, self.patch, per_lead=self.lead_patches)

    @nn.compact
    def encode(
        self, patches: jax.Array, visible: jax.Array | None = None, valid: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes the visible patches.

        Args:
          patches: [batch, row, column, value].
          visible: int [batch, visible], indices of the visible patches, row by row; None: all.
          valid: bool [batch, visible], false for padding, if the recordings have different numbers
            of visible patches.

        Returns:
          Tokens [batch, visible, width] and embedding [batch, width].
        """
        batch, rows, columns, values = patches.shape
        patches = patches.reshape(batch, -1, values)
        positions = self._positions(rows, columns)
        if visible is None:
            positions = positions[None]
        else:
            patches = jnp.take_along_axis(patches, visible[..., None], axis=1)
            positions = positions[visible]
        # Larger initial weights than in other layers: an ECG in mV is a seventh of unit variance.
        embed = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="embed")
        hidden = embed(patches) + positions.astype(self.dtype)
        if (extra := self._extra_tokens(rows)) is not None:
            extra = jnp.broadcast_to(extra[None], (batch, *extra.shape)).astype(self.dtype)
            hidden = jnp.concatenate([hidden, extra], axis=1)
        count = patches.shape[1]
        if valid is not None:
            valid = jnp.pad(valid, ((0, 0), (0, hidden.shape[1] - count)), constant_values=True)
        hidden = Transformer(self.layers, self.heads, self.dtype, name="transformer")(hidden, valid)
        tokens = hidden[:, :count].astype(jnp.float32)
        if valid is None:
            return tokens, tokens.mean(1)
        weight = valid[:, :count, None].astype(jnp.float32)
        return tokens, (weight * tokens).sum(1) / jnp.maximum(weight.sum(1), 1)

    def _positions(self, rows: int, columns: int) -> jax.Array:
        """Positional encoding [row * column, width]: sinusoidal in time, learned for the lead."""
        times = sinusoidal_positions(columns, self.width)
        positions = jnp.broadcast_to(times[None], (rows, columns, self.width))
        if self.lead_patches:
            positions = positions + self.param("lead", SMALL, (rows, self.width))[:, None]
        return positions.reshape(-1, self.width)

    def _extra_tokens(self, rows: int) -> jax.Array | None:
        """Registers and separators [token, width]; None if there are none."""
        tokens = []
        if self.registers:
            tokens.append(self.param("registers", SMALL, (self.registers, self.width)))
        if self.separators:
            leads = self.param("separator_lead", SMALL, (rows, self.width))
            tokens.append(self.param("separator", SMALL, (1, self.width)) + leads)
        return jnp.concatenate(tokens) if tokens else None


def cut_patches(signal: jax.Array, samples: int, *, per_lead: bool) -> jax.Array:
    """Cuts recordings into patches; zeros fill the last patch.

    Args:
      signal: [batch, time, lead].
      samples: samples of a patch.
      per_lead: a row per lead, with patches of that lead; otherwise one row, with patches of all
        leads.

    Returns:
      [batch, row, column, value]; `value` is `samples`, or `samples` x leads in one row.
    """
    batch, time, leads = signal.shape
    signal = jnp.pad(signal, ((0, 0), (0, -time % samples), (0, 0)))
    patches = signal.reshape(batch, -1, samples, leads)
    if per_lead:
        return patches.transpose(0, 3, 1, 2)
    return patches.reshape(batch, 1, patches.shape[1], samples * leads)
