"""Transformer layers: pre-norm blocks without bias, as in https://github.com/kweimann/ECG-JEPA.

Parameters are float32 in every precision of the computation.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError

SMALL = nn.initializers.truncated_normal(0.02)
"""Initialiser of weights and learned tokens, a normal distribution that is cut at two standard
deviations. The standard deviation is 0.02 before the cut and 0.0176 after it. PyTorch's
`trunc_normal_` in the papers' code cuts at a hundred standard deviations, so it stays 0.02."""


def check_transformer(name: str, *, width: int, layers: int, heads: int) -> None:
    """Checks the sizes of a transformer.

    Args:
      name: the transformer's name in the error message.
      width: channels of a token; half of them hold the sines of the positional encoding.
      layers: number of blocks.
      heads: attention heads of a block.

    Raises:
      InputError: there is no layer, or the width is odd or not a multiple of the heads.
    """
    if min(width, layers, heads) < 1 or width % heads or width % 2:
        raise InputError(
            f"{name}: width {width}, layers {layers}, heads {heads}: give one layer or more, and "
            f"an even width that is a multiple of the heads"
        )


class Transformer(nn.Module):
    """Self-attention blocks and a final layer normalisation."""

    layers: int
    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """[batch, token, width] -> the same shape.

        No token attends to a token that is not `valid`, bool [batch, token].
        """
        check_transformer(
            "transformer", width=hidden.shape[-1], layers=self.layers, heads=self.heads
        )
        hidden = hidden.astype(self.dtype)
        for number in range(1, self.layers + 1):
            hidden = Block(self.heads, self.layers, self.dtype, name=f"block{number}")(
                hidden, valid
            )
        return _norm(self.dtype, "norm")(hidden)


class Block(nn.Module):
    """Self-attention and a two-layer MLP with GELU, both with a residual (arXiv:2010.11929)."""

    heads: int
    layers: int
    """Number of blocks in the stack; in a deeper stack the last layers of a block start smaller."""
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """[batch, token, width] -> the same shape."""
        width = hidden.shape[-1]
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype, kernel_init=SMALL)
        last = nn.initializers.truncated_normal(0.02 / (2 * self.layers) ** 0.5)
        normalised = _norm(self.dtype, "norm1")(hidden)
        query, key, value = (
            dense(width, name=name)(normalised).reshape(*hidden.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        attended = jax.nn.dot_product_attention(
            query, key, value, mask=None if valid is None else valid[:, None, None]
        )
        hidden = hidden + dense(width, kernel_init=last, name="out")(attended.reshape(hidden.shape))
        normalised = _norm(self.dtype, "norm2")(hidden)
        wide = nn.gelu(dense(4 * width, name="widen")(normalised))
        return hidden + dense(width, kernel_init=last, name="narrow")(wide)


def sinusoidal_positions(count: int, width: int) -> jax.Array:
    """Returns the sinusoidal positional encoding [count, width] (arXiv:1706.03762)."""
    period = 10000.0 ** (jnp.arange(width // 2) / (width / 2))
    angle = jnp.arange(count)[:, None] / period[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def _norm(dtype: str, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(use_bias=False, epsilon=1e-6, dtype=dtype, name=name)
