"""The encoder of CPC in Mehari & Strodthoff 2022 (arXiv:2103.12676): four pointwise convolutions, a two-layer LSTM.

Made for pre-training with `cpc`, which needs what came before each token and nothing that comes after. 5.0 M
parameters: convolutions 0.79 M, batch norm 4 k, LSTM 4.20 M (4 k more in PyTorch, which has a second bias).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.context import ConvStack, Lstm, concat_pool


class ConvLstm(nn.Module):
    """One token a sample; the embedding joins the last token with maximum and mean, as that paper's head does."""

    widths: tuple[int, ...] = (512, 512, 512, 512)
    """Channels of the convolutions."""
    kernels: tuple[int, ...] = (1, 1, 1, 1)
    """Samples that each convolution spans."""
    strides: tuple[int, ...] = (1, 1, 1, 1)
    """Samples from one output of each convolution to the next."""
    lstm: int = 512
    """Width of the LSTM."""
    lstm_layers: int = 2
    """Layers of the LSTM."""
    dtype: str = "float32"
    """What convolutions and LSTM compute in: float32 or bfloat16."""

    def setup(self):
        self.convolutions = ConvStack(self.widths, self.kernels, self.strides, self.dtype)
        self.recurrent = [Lstm(self.lstm, self.dtype) for _ in range(self.lstm_layers)]

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, time, 512], embedding [batch, 1536]."""
        tokens = self.context(self.local(signal, train=train), train=train)
        return tokens, self.pool(tokens)

    def local(self, signal: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, lead] -> what is to be foretold, float32 [batch, time, 512]."""
        return self.convolutions(signal, train=train).astype(jnp.float32)

    def context(self, local: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, 512] -> what was seen up to each token, float32 [batch, time, 512]."""
        for layer in self.recurrent:
            local = layer(local)
        return local.astype(jnp.float32)

    def pool(self, context: jax.Array) -> jax.Array:
        """[batch, time, width] -> embedding [batch, 3 * width]."""
        return concat_pool(context)
