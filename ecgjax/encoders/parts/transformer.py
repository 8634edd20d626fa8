"""What the transformers are made of: pre-norm blocks without any bias, as in https://github.com/kweimann/ECG-JEPA.

Parameters are float32 whatever `dtype` the layers compute in.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError

SMALL = nn.initializers.truncated_normal(0.02)
"""Initial values of weights and learned tokens: a deviation of 0.02 before they are cut at two of them, 0.0176 after
(PyTorch's `trunc_normal_`, which the papers' code uses, cuts a hundred deviations away: 0.02)."""


def check_transformer(what: str, *, width: int, layers: int, heads: int) -> None:
    """Refuses attention heads that do not divide the width, an odd width, half of which are sines, and no layer.

    Raises:
      InputError: it is so.
    """
    if min(width, layers, heads) < 1 or width % heads or width % 2:
        raise InputError(
            f"{what}: width {width}, layers {layers}, heads {heads}: give a layer or more, and an even width that is a "
            f"multiple of the heads"
        )


class Transformer(nn.Module):
    """Blocks of self-attention and a last normalisation."""

    layers: int
    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, hidden: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """[batch, token, width] -> the same shape; nobody attends to a token that is not `valid`, [batch, token]."""
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
    """Self-attention, then two dense layers with a GELU between; each adds to its input (arXiv:2010.11929)."""

    heads: int
    layers: int
    """Blocks of the whole stack: what adds to the residual stream starts smaller in a deeper one."""
    dtype: str

    @nn.compact
    def __call__(self, hidden: jax.Array, valid: jax.Array | None = None) -> jax.Array:
        """[batch, token, width] -> the same shape."""
        width = hidden.shape[-1]
        dense = functools.partial(nn.Dense, use_bias=False, dtype=self.dtype, kernel_init=SMALL)
        last = nn.initializers.truncated_normal(0.02 / (2 * self.layers) ** 0.5)
        normal = _norm(self.dtype, "norm1")(hidden)
        query, key, value = (
            dense(width, name=name)(normal).reshape(*hidden.shape[:2], self.heads, -1)
            for name in ("query", "key", "value")
        )
        attended = jax.nn.dot_product_attention(
            query, key, value, mask=None if valid is None else valid[:, None, None]
        )
        hidden = hidden + dense(width, kernel_init=last, name="out")(attended.reshape(hidden.shape))
        normal = _norm(self.dtype, "norm2")(hidden)
        wide = nn.gelu(dense(4 * width, name="widen")(normal))
        return hidden + dense(width, kernel_init=last, name="narrow")(wide)


def places(count: int, width: int) -> jax.Array:
    """[count, width]: sines and cosines of a token's position (arXiv:1706.03762), for sequences of any length."""
    slowness = 10000.0 ** (jnp.arange(width // 2) / (width / 2))
    angle = jnp.arange(count)[:, None] / slowness[None]
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def _norm(dtype: str, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(use_bias=False, epsilon=1e-6, dtype=dtype, name=name)
