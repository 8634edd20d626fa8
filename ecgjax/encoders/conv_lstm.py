"""The CPC encoder of Mehari & Strodthoff 2022 (arXiv:2103.12676): convolutions and an LSTM.

It has four convolutions of kernel size 1 and a two-layer LSTM. It is made for pre-training with
`cpc`, which needs a causal context: a token must not depend on later samples. 5.0 M parameters:
convolutions 0.79 M, batch norm 4 k, LSTM 4.20 M (4 k more in PyTorch, which has a second bias).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.context import ConvStack, Lstm, concat_pool


class ConvLstm(nn.Module):
    """One token per sample; the embedding is the last token, maximum and mean, as in the paper."""

    widths: tuple[int, ...] = (512, 512, 512, 512)
    """Channels of the convolutions."""
    kernels: tuple[int, ...] = (1, 1, 1, 1)
    """Kernel size of each convolution, in samples."""
    strides: tuple[int, ...] = (1, 1, 1, 1)
    """Stride of each convolution, in samples."""
    lstm: int = 512
    """Width of the LSTM."""
    lstm_layers: int = 2
    """Number of LSTM layers."""
    dtype: str = "float32"
    """Precision of convolutions and LSTM: float32 or bfloat16."""

    def setup(self):
        self.convolutions = ConvStack(self.widths, self.kernels, self.strides, self.dtype)
        self.recurrent = [Lstm(self.lstm, self.dtype) for _ in range(self.lstm_layers)]

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, time, 512], embedding [batch, 1536]."""
        tokens = self.context(self.local(signal, train=train), train=train)
        return tokens, self.pool(tokens)

    def local(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """Local features, which CPC predicts: [batch, time, lead] -> float32 [batch, time, 512]."""
        return self.convolutions(signal, train=train).astype(jnp.float32)

    def context(self, local: jax.Array, *, train: bool) -> jax.Array:
        """Causal context of each token: [batch, time, 512] -> float32 [batch, time, 512]."""
        for layer in self.recurrent:
            local = layer(local)
        return local.astype(jnp.float32)

    def pool(self, context: jax.Array) -> jax.Array:
        """[batch, time, width] -> embedding [batch, 3 * width]."""
        return concat_pool(context)
