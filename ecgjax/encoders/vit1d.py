"""A vision transformer of one dimension: the recording is cut into patches, and each patch is a token.

With patches of all leads over 25 samples it is the encoder of Weimann & Conrad's ECG-JEPA
(https://github.com/kweimann/ECG-JEPA, configs/pretrain/ViTXS_ptbxl.yaml: 500 Hz, so 50 ms): 3,600,000 parameters as
published there for the XS size, 14.3 M with width 384 and 6 heads (S). With patches of one lead it is that of Sawano et
al. 2024 (250 samples at 500 Hz) and, with separators, of ST-MEM (arXiv:2402.09450; 75 samples at 250 Hz). There layer
norms before and after the embedding take a patch's amplitude away, places are learned, and the mean of the tokens is
normalised; here amplitudes stay, places in time are sines, and tokens are normalised before their mean.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL, Transformer, places


class Vit1d(nn.Module):
    """Patches, positions, transformer; the embedding is the mean of the tokens.

    Methods that hide tokens call `patches` and `encode` with those that are to be seen.
    """

    width: int = 192
    """Channels of a token."""
    layers: int = 8
    """Transformer blocks."""
    heads: int = 4
    """Attention heads of a block."""
    patch: int = 25
    """Samples of a patch."""
    lead_patches: bool = False
    """Whether a patch is of one lead; else it is of all."""
    registers: int = 1
    """Learned tokens beside the patches' that collect what is global; they are no part of the output."""
    separators: bool = False
    """One more such token a lead, ST-MEM's SEP (two there, which are alike: both stand at position zero)."""
    dtype: str = "float32"
    """What it is computed in: float32 or bfloat16."""

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / patch), width], embedding [batch, width].

        With `lead_patches` a token is the mean of the leads' at that time.
        """
        patches = self.patches(signal)
        tokens, embedding = self.encode(patches)
        return tokens.reshape(*patches.shape[:3], self.width).mean(1), embedding

    def patches(self, signal: jax.Array) -> jax.Array:
        """[batch, time, lead] -> [batch, row, column, value], as `encode` wants it."""
        return patches(signal, self.patch, by_lead=self.lead_patches)

    @nn.compact
    def encode(
        self, patches: jax.Array, kept: jax.Array | None = None, valid: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Tokens [batch, kept, width], row by row, and embedding [batch, width] of those patches that are to be seen.

        Args:
          patches: [batch, row, column, value].
          kept: int [batch, kept], the patches to see, numbered row by row. None: all.
          valid: bool [batch, kept], which of `kept` count, where recordings differ in how many they keep.
        """
        batch, rows, columns, values = patches.shape
        patches, where = patches.reshape(batch, -1, values), self._where(rows, columns)
        if kept is None:
            where = where[None]
        else:
            patches, where = jnp.take_along_axis(patches, kept[..., None], axis=1), where[kept]
        # Not as small as the other weights: in mV an ECG is a seventh of what it is at unit variance.
        embed = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="embed")
        hidden = embed(patches) + where.astype(self.dtype)
        if (beside := self._beside(rows)) is not None:
            beside = jnp.broadcast_to(beside[None], (batch, *beside.shape)).astype(self.dtype)
            hidden = jnp.concatenate([hidden, beside], axis=1)
        count = patches.shape[1]
        if valid is not None:
            valid = jnp.pad(valid, ((0, 0), (0, hidden.shape[1] - count)), constant_values=True)
        hidden = Transformer(self.layers, self.heads, self.dtype, name="transformer")(hidden, valid)
        tokens = hidden[:, :count].astype(jnp.float32)
        if valid is None:
            return tokens, tokens.mean(1)
        weight = valid[:, :count, None].astype(jnp.float32)
        return tokens, (weight * tokens).sum(1) / jnp.maximum(weight.sum(1), 1)

    def _where(self, rows: int, columns: int) -> jax.Array:
        """[row * column, width]: what says where a patch is."""
        times = jnp.broadcast_to(places(columns, self.width)[None], (rows, columns, self.width))
        if self.lead_patches:
            times = times + self.param("lead", SMALL, (rows, self.width))[:, None]
        return times.reshape(-1, self.width)

    def _beside(self, rows: int) -> jax.Array | None:
        """[token, width]: registers and separators, None without any."""
        tokens = (
            [self.param("registers", SMALL, (self.registers, self.width))] if self.registers else []
        )
        if self.separators:
            leads = self.param("separator_lead", SMALL, (rows, self.width))
            tokens.append(self.param("separator", SMALL, (1, self.width)) + leads)
        return jnp.concatenate(tokens) if tokens else None


def patches(signal: jax.Array, samples: int, *, by_lead: bool) -> jax.Array:
    """Cuts [batch, time, lead] into [batch, row, column, value]; the last column is filled up with zeros.

    With `by_lead` a row is a lead, and a patch has `samples` values; else there is one row, with all leads in a patch.
    """
    batch, time, leads = signal.shape
    signal = jnp.pad(signal, ((0, 0), (0, -time % samples), (0, 0)))
    cut = signal.reshape(batch, -1, samples, leads)
    return (
        cut.transpose(0, 3, 1, 2)
        if by_lead
        else cut.reshape(batch, 1, cut.shape[1], samples * leads)
    )
