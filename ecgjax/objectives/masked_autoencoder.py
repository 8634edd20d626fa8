"""Masked autoencoder: most of a recording is hidden, and has to be drawn from the rest.

The objective of Sawano et al. 2024 (PLoS One; MAE, arXiv:2111.06377, on 12-lead ECGs): 75 % of the patches of one lead
and 0.5 s are hidden, the encoder sees the others only, and a light decoder is judged by the mean squared error on what
was hidden. With `lead_wise` it is ST-MEM (arXiv:2402.09450, https://github.com/bakqui/ST-MEM): equally many patches of
each lead are hidden, and one decoder, shared by the leads, draws each lead from its own tokens.

Which patches there are is the encoder's affair where it has some (vit1d_leads: Sawano's; vit1d_st_mem: ST-MEM's; vit1d:
one patch for all leads, so that rows and leads are one). Any other encoder gets patches of one lead and
`span_samples`, and sees 0 where they are hidden; its decoder draws all leads from its tokens. Sawano et al. do not give
their decoder's size; it is ST-MEM's here. ST-MEM's decoder sees what the separators carry as well; this one does not.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import check_transformer
from ecgjax.encoders.vit1d import patches
from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import (
    hidden_by_chance,
    hides_patches,
    in_spans,
    mean_where,
    normalised,
    seen_whole,
    silenced,
)
from ecgjax.objectives.parts.token_decoder import TokenDecoder
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class MaskedAutoencoder:
    """Settings of masked-autoencoder pre-training."""

    hidden: float = 0.75
    """Share of the patches that is hidden."""
    lead_wise: bool = False
    """Whether equally many patches of each lead are hidden and each lead is decoded by itself (ST-MEM)."""
    normalised_targets: bool = False
    """Whether each patch has mean 0 and variance 1 as a target (MAE's norm-pix)."""
    decoder_width: int = 256
    """Channels of the decoder, which is thrown away after pre-training."""
    decoder_layers: int = 4
    """Transformer blocks of the decoder."""
    decoder_heads: int = 4
    """Attention heads of the decoder."""
    span_samples: int = 50
    """Samples of a patch, for encoders without patches of their own (0.5 s at 100 Hz, as Sawano's 250 are at
    500 Hz)."""

    examples = "single"

    def __post_init__(self):
        if not 0 < self.hidden < 1 or self.span_samples < 1:
            raise InputError(
                f"hidden {self.hidden}, span_samples {self.span_samples}: give a hidden share between 0 and 1 "
                f"and a span of 1 or more"
            )
        check_transformer(
            "decoder",
            width=self.decoder_width,
            layers=self.decoder_layers,
            heads=self.decoder_heads,
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(_Autoencoder(encoder, self).init(key, signal, key, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Mean squared error on what is hidden.

        Of batch: signal int16 [recording, time, lead].
        """
        signal = preprocess(batch["signal"])
        (predicted, target, hidden), _ = _Autoencoder(encoder, self).apply(
            variables, signal, key, train=True, mutable=["batch_stats"]
        )
        if self.normalised_targets:
            target = normalised(target)
        loss = hidden_error(predicted, target, hidden)
        metrics, updates = seen_whole(encoder, variables, signal)
        guess = hidden_error(mean_where(target, _like(hidden, target)), target, hidden)
        return loss, (metrics | {"explained_variance": 1 - loss / (guess + 1e-12)}, updates)


def hidden_error(predicted: jax.Array, target: jax.Array, hidden: jax.Array) -> jax.Array:
    """Mean squared error over the patches that are hidden (arXiv:2111.06377).

    Args:
      predicted: [..., value], or one number for all.
      target: [..., value].
      hidden: bool [...].
    """
    return mean_where(jnp.square(predicted - target), _like(hidden, target))


def _like(hidden: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.broadcast_to(hidden[..., None], target.shape)


class _Autoencoder(nn.Module):
    """Hides, encodes, decodes."""

    encoder: nn.Module
    settings: MaskedAutoencoder

    @nn.compact
    def __call__(
        self, signal: jax.Array, key: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[batch, time, lead] -> predicted, true patches [batch, row, column, value], hidden [batch, row, column]."""
        if hides_patches(self.encoder):
            target = self.encoder.patches(signal)
            hidden, kept = self._hide(key, *target.shape[:3])
            return self._from_kept(target, kept), target, hidden
        target = patches(signal, self.settings.span_samples, by_lead=True)
        hidden, _ = self._hide(key, *target.shape[:3])
        tokens, _ = self.encoder(silenced(signal, hidden, self.settings.span_samples), train=train)
        spans = in_spans(tokens, signal.shape[1], self.settings.span_samples)
        return self._from_all(spans, target.shape), target, hidden

    def _hide(
        self, key: jax.Array, batch: int, rows: int, columns: int
    ) -> tuple[jax.Array, jax.Array]:
        """Where it is hidden [batch, row, column], and the patches that are kept [batch, kept], row by row."""
        groups = rows if self.settings.lead_wise else 1
        each = rows * columns // groups
        if self.settings.lead_wise and rows < 2:
            raise InputError(
                "lead_wise needs patches of one lead: give an encoder that has them, like vit1d_st_mem"
            )
        if each < 2:
            raise InputError(
                "recordings are one patch long, so nothing can be hidden: give a span of fewer samples, longer "
                "recordings, or an encoder with shorter patches"
            )
        few = max(int(each * (1 - self.settings.hidden)), 1)
        hidden, kept = hidden_by_chance(key, (batch, groups, each), few)
        kept = kept + (each * jnp.arange(groups))[None, :, None]
        return hidden.reshape(batch, rows, columns), kept.reshape(batch, -1)

    def _from_kept(self, target: jax.Array, kept: jax.Array) -> jax.Array:
        """All patches, drawn by who has seen those that are kept."""
        _, rows, columns, values = target.shape
        tokens, _ = self.encoder.encode(target, kept)
        return self._decoder(values, self.settings.lead_wise)(tokens, rows, columns, kept)

    def _from_all(self, spans: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Patches of `shape` [batch, lead, column, value], drawn from what an encoder says of each column."""
        batch, leads, columns, values = shape
        drawn = self._decoder(leads * values, False)(spans, 1, columns)
        return drawn.reshape(batch, columns, leads, values).swapaxes(1, 2)

    def _decoder(self, values: int, by_row: bool) -> TokenDecoder:
        own = self.settings
        return TokenDecoder(
            own.decoder_width, own.decoder_layers, own.decoder_heads, values, by_row, name="decoder"
        )
