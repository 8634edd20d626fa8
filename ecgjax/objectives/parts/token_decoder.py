"""A light transformer over all positions: the decoder of MAE, the predictor of JEPA."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL, Transformer, sinusoidal_positions


class TokenDecoder(nn.Module):
    """Predicts values at all positions from the tokens of the visible ones.

    A learned mask token stands at each position that the encoder did not see (arXiv:2111.06377).
    """

    width: int
    layers: int
    heads: int
    values: int
    """Number of predicted values per position."""
    row_wise: bool = False
    """Decodes each row of positions on its own, with the same weights."""

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        rows: int,
        columns: int,
        visible: jax.Array | None = None,
        valid: jax.Array | None = None,
    ) -> jax.Array:
        """Returns predictions for all positions, float32 [batch, row, column, values].

        Args:
          tokens: [batch, token, channel].
          rows: rows of positions.
          columns: columns of positions.
          visible: int [batch, token], the position of each token, numbered row by row. None: there
            is a token for every position.
          valid: bool [batch, token], False for tokens that are padding. None: all are valid.
        """
        hidden = nn.Dense(self.width, name="enter")(tokens)
        if visible is not None:
            hidden = self._fill(hidden, rows * columns, visible, valid)
        positions = sinusoidal_positions(columns, self.width)
        hidden = hidden.reshape(-1, rows, columns, self.width) + positions[None, None]
        if rows > 1 and not self.row_wise:
            hidden = hidden + self.param("row", SMALL, (rows, self.width))[None, :, None]
        sequences = hidden.reshape(-1, columns if self.row_wise else rows * columns, self.width)
        decoded = Transformer(self.layers, self.heads, name="transformer")(sequences)
        return nn.Dense(self.values, name="leave")(decoded).reshape(-1, rows, columns, self.values)

    def _fill(
        self, tokens: jax.Array, positions: int, visible: jax.Array, valid: jax.Array | None
    ) -> jax.Array:
        """Tokens at all positions [batch, position, width]; masked ones have the mask token."""
        valid = jnp.ones(visible.shape, bool) if valid is None else valid
        matches = (visible[:, None] == jnp.arange(positions)[None, :, None]) & valid[:, None]
        placed = jnp.einsum(
            "bpt,btw->bpw", matches.astype(tokens.dtype), tokens, precision="highest"
        )
        mask_token = self.param("unseen", SMALL, (self.width,))
        return jnp.where(matches.any(-1, keepdims=True), placed, mask_token[None, None])
