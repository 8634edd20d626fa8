"""wav2vec 2.0 (arXiv:2006.11477) for ECGs: convolutions make local features, a transformer sets them in context.

The encoder of fairseq-signals (https://github.com/Jwoo5/fairseq-signals, models/conv_transformer.py), on which ECG-FM
and DeepECG-SSL were trained: four convolutions of 256 channels that each halve the time axis, and a convolution of 128
tokens in 16 groups that says where a token is. There the transformer is BERT-base (width 768, 12 layers and heads) and
all is about 90 M parameters with the heads of pre-training; with those sizes this encoder has 90.3 M. The default is
of modest size, 3.4 M. Its blocks normalise before they act, as vit1d's, and have no bias; BERT's normalise after.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.convolution import Conv, GroupedConv
from ecgjax.encoders.parts.transformer import Transformer


class Wav2vecTransformer(nn.Module):
    """Local features, positions, transformer; the embedding is the mean of the tokens.

    Methods that hide features call `features`, `normalised`, `enter` and `context` one after the other.
    """

    channels: int = 256
    """Channels of the local features."""
    halvings: int = 4
    """Convolutions, each with stride 2."""
    width: int = 192
    """Channels of a token."""
    layers: int = 6
    """Transformer blocks."""
    heads: int = 4
    """Attention heads of a block."""
    position_kernel: int = 128
    """Tokens that the convolution for positions spans."""
    position_groups: int = 16
    """Groups of that convolution's channels."""
    dtype: str = "float32"
    """What it is computed in: float32 or bfloat16."""

    def setup(self):
        self.convolutions = [
            Conv(self.channels, 2, 2, dtype=self.dtype) for _ in range(self.halvings)
        ]
        self.first_norm = nn.GroupNorm(num_groups=None, group_size=1, dtype=self.dtype)
        self.feature_norm = nn.LayerNorm(dtype=self.dtype)
        self.entrance = nn.Dense(self.width, dtype=self.dtype)
        self.position = GroupedConv(
            self.width, self.position_kernel, self.position_groups, self.dtype
        )
        self.transformer = Transformer(self.layers, self.heads, self.dtype)

    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[batch, time, lead] -> tokens [batch, ceil(time / 2**halvings), width], embedding [batch, width]."""
        return self.context(self.enter(self.normalised(self.features(signal))))

    def features(self, signal: jax.Array) -> jax.Array:
        """[batch, time, lead] -> local features [batch, time', channels]."""
        hidden = signal
        for number, convolution in enumerate(self.convolutions):
            hidden = convolution(hidden)
            # Each channel of each recording for itself, in the first layer only. As there, this takes a recording's
            # amplitude away: the encoder says the same of a signal twice as large.
            hidden = nn.gelu(hidden if number else self.first_norm(hidden))
        return hidden.astype(jnp.float32)

    def normalised(self, features: jax.Array) -> jax.Array:
        """Local features with mean 0 and variance 1 over the channels, scaled and shifted as learned."""
        return self.feature_norm(features).astype(jnp.float32)

    def enter(self, features: jax.Array) -> jax.Array:
        """Normalised features [batch, time', channels] -> what the transformer takes, [batch, time', width]."""
        return self.entrance(features)

    def context(self, hidden: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[batch, time', width] -> tokens of the same shape, and their mean, the embedding."""
        tokens = self.transformer(hidden + nn.gelu(self.position(hidden))).astype(jnp.float32)
        return tokens, tokens.mean(1)
