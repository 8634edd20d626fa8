"""wav2vec 2.0 (arXiv:2006.11477) for ECGs: convolutions for local features, then a transformer.

It is the encoder of fairseq-signals (https://github.com/Jwoo5/fairseq-signals,
models/conv_transformer.py), with which ECG-FM and DeepECG-SSL were trained. It has four
convolutions of 256 channels that each halve the time axis, and a positional convolution of kernel
size 128 in 16 groups. Its transformer is BERT-base (width 768, 12 layers, 12 heads), and it has
about 90 M parameters with the heads of pre-training. With those sizes this encoder has 90.3 M; the
default has 3.4 M. The blocks are pre-norm and have no bias, like those of vit1d; those of BERT are
post-norm.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv, GroupedConv
from ecgjax.encoders.parts.transformer import Transformer


class Wav2vecTransformer(nn.Module):
    """Local features, positional encoding, transformer; the embedding is the mean of the tokens.

    Methods that mask features call `features`, `normalise`, `project` and `context` in this order.
    """

    channels: int = 256
    """Channels of the local features."""
    halvings: int = 4
    """Number of convolutions, each with stride 2."""
    width: int = 192
    """Channels of a token."""
    layers: int = 6
    """Number of transformer blocks."""
    heads: int = 4
    """Attention heads of a block."""
    position_kernel: int = 128
    """Kernel size of the positional convolution, in tokens."""
    position_groups: int = 16
    """Groups of channels of the positional convolution."""
    dtype: str = "float32"
    """Precision of the computation: float32 or bfloat16."""

    def setup(self):
        self.convolutions = [
            Conv(self.channels, 2, 2, dtype=self.dtype) for _ in range(self.halvings)
        ]
        self.first_norm = nn.GroupNorm(num_groups=None, group_size=1, dtype=self.dtype)
        self.feature_norm = nn.LayerNorm(dtype=self.dtype)
        self.entrance = nn.Dense(self.width, dtype=self.dtype)
        self.position = GroupedConv(
            self.width, self.position_kernel, self.position_groups, dtype=self.dtype
        )
        self.transformer = Transformer(self.layers, self.heads, self.dtype)

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Encodes recordings [batch, time, lead].

        Returns:
          Tokens [batch, ceil(time / 2**halvings), width] and embedding [batch, width].
        """
        return self.context(self.project(self.normalise(self.features(signal))))

    def features(self, signal: jax.Array) -> jax.Array:
        """Local features: [batch, time, lead] -> [batch, time', channels]."""
        hidden = signal
        for number, convolution in enumerate(self.convolutions):
            hidden = convolution(hidden)
            # Only the first layer normalises each channel of each recording, as in fairseq-signals.
            # This removes a recording's amplitude: a signal twice as large has the same tokens.
            hidden = nn.gelu(hidden if number else self.first_norm(hidden))
        return hidden.astype(jnp.float32)

    def normalise(self, features: jax.Array) -> jax.Array:
        """Layer normalisation of local features, with learned scale and shift."""
        return self.feature_norm(features).astype(jnp.float32)

    def project(self, features: jax.Array) -> jax.Array:
        """Projects normalised features: [batch, time', channels] -> [batch, time', width]."""
        return self.entrance(features)

    def context(self, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Runs the transformer on projected features [batch, time', width].

        Returns:
          Tokens of the same shape, and their mean, the embedding.
        """
        tokens = self.transformer(hidden + nn.gelu(self.position(hidden))).astype(jnp.float32)
        return tokens, tokens.mean(1)
