"""A light transformer from an encoder's tokens to something at every place: MAE's decoder, JEPA's predictor."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL, Transformer, places


class TokenDecoder(nn.Module):
    """A learned token stands in for each place that the encoder did not see (arXiv:2111.06377)."""

    width: int
    layers: int
    heads: int
    values: int
    """Numbers that are predicted for a place."""
    by_row: bool = False
    """Whether each row of places is decoded by itself, all by the same weights."""

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        rows: int,
        columns: int,
        kept: jax.Array | None = None,
        valid: jax.Array | None = None,
    ) -> jax.Array:
        """Predictions for all places, float32 [batch, row, column, values].

        Args:
          tokens: [batch, token, channel].
          rows: rows of places.
          columns: columns of places.
          kept: int [batch, token], the place of each token, numbered row by row. None: every place has its own.
          valid: bool [batch, token], which tokens count. None: all.
        """
        hidden = nn.Dense(self.width, name="enter")(tokens)
        if kept is not None:
            valid = jnp.ones(kept.shape, bool) if valid is None else valid
            here = (kept[:, None] == jnp.arange(rows * columns)[None, :, None]) & valid[:, None]
            put = jnp.einsum("bpt,btw->bpw", here.astype(hidden.dtype), hidden, precision="highest")
            unseen = self.param("unseen", SMALL, (self.width,))
            hidden = jnp.where(here.any(-1, keepdims=True), put, unseen[None, None])
        hidden = (
            hidden.reshape(-1, rows, columns, self.width) + places(columns, self.width)[None, None]
        )
        if rows > 1 and not self.by_row:
            hidden = hidden + self.param("row", SMALL, (rows, self.width))[None, :, None]
        sequences = hidden.reshape(-1, columns if self.by_row else rows * columns, self.width)
        decoded = Transformer(self.layers, self.heads, name="transformer")(sequences)
        return nn.Dense(self.values, name="leave")(decoded).reshape(-1, rows, columns, self.values)
