"""Masked autoencoder (MAE): masks most patches of a recording and reconstructs them from the rest.

This is the objective of Sawano et al. 2024 (PLoS One), MAE (arXiv:2111.06377) on 12-lead ECGs. A
patch is 0.5 s of one lead. 75 % of the patches are masked, the encoder gets the visible ones, and a
light decoder is trained with the mean squared error on the masked ones. With `lead_wise` it is
ST-MEM (arXiv:2402.09450, https://github.com/bakqui/ST-MEM): the same number of patches is masked in
each lead, and one decoder, shared by the leads, reconstructs each lead from its own tokens.

An encoder with patches decides what a patch is (vit1d_leads: Sawano's patches; vit1d_st_mem: those
of ST-MEM; vit1d: one patch for all leads). For any other encoder a patch is `span_samples` of one
lead, masked patches are 0 in the signal, and the decoder reconstructs all leads from the encoder's
tokens. Sawano et al. do not give the size of their decoder, so the default is ST-MEM's. The decoder
of ST-MEM also sees the outputs of the separator tokens; this one does not.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import check_transformer
from ecgjax.encoders.vit1d import cut_patches
from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import (
    encode_unmasked,
    encodes_visible_patches,
    mask_signal,
    masked_mean,
    random_mask,
    resample_tokens,
)
from ecgjax.objectives.parts.token_decoder import TokenDecoder
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class MaskedAutoencoder:
    """Settings of masked-autoencoder pre-training."""

    hidden: float = 0.75
    """Share of the patches that is masked."""
    lead_wise: bool = False
    """Masks the same number of patches in each lead and decodes each lead on its own (ST-MEM)."""
    normalised_targets: bool = False
    """Standardises each target patch to mean 0 and variance 1 (MAE's norm-pix)."""
    decoder_width: int = 256
    """Channels of the decoder, which is discarded after pre-training."""
    decoder_layers: int = 4
    """Transformer blocks of the decoder."""
    decoder_heads: int = 4
    """Attention heads of the decoder."""
    span_samples: int = 50
    """Samples of a patch, for encoders without patches of their own (0.5 s at 100 Hz, like Sawano's
    250 samples at 500 Hz)."""

    examples = "single"

    def __post_init__(self):
        if not 0 < self.hidden < 1 or self.span_samples < 1:
            raise InputError(
                f"hidden {self.hidden}, span_samples {self.span_samples}: give a masked share "
                f"between 0 and 1 and a span of 1 or more"
            )
        check_transformer(
            "decoder",
            width=self.decoder_width,
            layers=self.decoder_layers,
            heads=self.decoder_heads,
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        network = MaskedAutoencoderNetwork(encoder, self)
        return dict(network.init(key, signal, key, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the mean squared error on the masked patches; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead].
        """
        signal = preprocess(batch["signal"])
        (predicted, target, mask), _ = MaskedAutoencoderNetwork(encoder, self).apply(
            variables, signal, key, train=True, mutable=["batch_stats"]
        )
        if self.normalised_targets:
            variance = target.var(-1, keepdims=True)  # the default is less accurate
            target = jax.nn.standardize(target, variance=variance, epsilon=1e-6)
        loss = reconstruction_error(predicted, target, mask)
        metrics, updates = encode_unmasked(encoder, variables, signal)
        mean_target = masked_mean(target, _by_value(mask, target))
        total = reconstruction_error(mean_target, target, mask)
        return loss, (metrics | {"explained_variance": 1 - loss / (total + 1e-12)}, updates)


def reconstruction_error(predicted: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean squared error over the masked patches (arXiv:2111.06377).

    Args:
      predicted: [..., value], or one number for all values.
      target: [..., value].
      mask: bool [...], True where masked.
    """
    return masked_mean(jnp.square(predicted - target), _by_value(mask, target))


def _by_value(mask: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.broadcast_to(mask[..., None], target.shape)


class MaskedAutoencoderNetwork(nn.Module):
    """Masks patches, encodes the visible ones and decodes all of them."""

    encoder: nn.Module
    settings: MaskedAutoencoder

    @nn.compact
    def __call__(
        self, signal: jax.Array, key: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reconstructs the patches of a signal.

        Args:
          signal: [batch, time, lead].
          key: random key of the mask.
          train: the encoder's `train`.

        Returns:
          Predicted and true patches [batch, row, column, value], and the mask, bool
          [batch, row, column].
        """
        if encodes_visible_patches(self.encoder):
            target = self.encoder.patches(signal)
            mask, visible = self._draw_mask(key, *target.shape[:3])
            return self._decode_visible(target, visible), target, mask
        span = self.settings.span_samples
        target = cut_patches(signal, span, per_lead=True)
        mask, _ = self._draw_mask(key, *target.shape[:3])
        tokens, _ = self.encoder(mask_signal(signal, mask, span), train=train)
        tokens = resample_tokens(tokens, signal.shape[1], span)
        return self._decode_spans(tokens, target.shape), target, mask

    def _draw_mask(
        self, key: jax.Array, batch: int, rows: int, columns: int
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mask [batch, row, column] and the visible patches [batch, visible]."""
        groups = rows if self.settings.lead_wise else 1
        positions = rows * columns // groups
        if self.settings.lead_wise and rows < 2:
            raise InputError(
                "lead_wise needs patches of one lead: give an encoder that has them, like "
                "vit1d_st_mem"
            )
        if positions < 2:
            raise InputError(
                "recordings are one patch long, so nothing can be masked: give a span of fewer "
                "samples, longer recordings, or an encoder with shorter patches"
            )
        count = max(int(positions * (1 - self.settings.hidden)), 1)
        mask, visible = random_mask(key, (batch, groups, positions), count)
        visible = visible + (positions * jnp.arange(groups))[None, :, None]
        return mask.reshape(batch, rows, columns), visible.reshape(batch, -1)

    def _decode_visible(self, target: jax.Array, visible: jax.Array) -> jax.Array:
        """Encodes the visible patches and reconstructs all patches from them."""
        _, rows, columns, values = target.shape
        tokens, _ = self.encoder.encode(target, visible)
        return self._decoder(values, self.settings.lead_wise)(tokens, rows, columns, visible)

    def _decode_spans(self, tokens: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Reconstructs patches [batch, lead, column, value] of `shape` from one token per
        column."""
        batch, leads, columns, values = shape
        decoded = self._decoder(leads * values, False)(tokens, 1, columns)
        return decoded.reshape(batch, columns, leads, values).swapaxes(1, 2)

    def _decoder(self, values: int, row_wise: bool) -> TokenDecoder:
        return TokenDecoder(
            self.settings.decoder_width,
            self.settings.decoder_layers,
            self.settings.decoder_heads,
            values,
            row_wise,
            name="decoder",
        )
