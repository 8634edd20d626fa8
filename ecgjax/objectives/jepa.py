"""JEPA: predicts the EMA encoder's tokens of masked stretches from the visible rest of a recording.

This is the objective of ECG-JEPA by Weimann & Conrad (https://github.com/kweimann/ECG-JEPA; I-JEPA,
arXiv:2301.08243, on ECGs) with its settings. The encoder sees 15 to 25 % of the tokens; contiguous
blocks mask the others, in all leads at once. A narrow transformer, the predictor, predicts the
target encoder's tokens at the masked positions, and the loss is the mean absolute difference. The
target encoder is an EMA of the encoder with a decay of 0.998, rising to 0.9995. It is the encoder
that is saved for later use. `difference` also offers the smooth L1 loss of Kim's ECG-JEPA
(arXiv:2410.08559).

An encoder without patches gets a signal that is 0 in the masked stretches. The target encoder then
encodes the whole recording, and its tokens are averaged over spans of `span_samples`.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import check_transformer
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.ema import ema_update, limit_decay
from ecgjax.objectives.parts.masking import (
    block_mask,
    encodes_visible_patches,
    mask_signal,
    masked_mean,
    resample_tokens,
)
from ecgjax.objectives.parts.spread import SpreadWeights, spread_terms
from ecgjax.objectives.parts.token_decoder import TokenDecoder
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Jepa:
    """Settings of joint-embedding predictive pre-training."""

    kept: tuple[float, float] = (0.15, 0.25)
    """Smallest and largest visible share of a recording; one share is drawn per batch."""
    shortest_block_s: float = 0.5
    """Shortest masked block in seconds (10 patches of 50 ms in the published code)."""
    momentum: tuple[float, float] = (0.998, 0.9995)
    """EMA decay of the target encoder at the beginning and at the end of the run; linear
    between."""
    memory: float = 0.05
    """Longest memory of the EMA, 1 / (1 - decay) steps, as a share of the run: a limit of the decay
    in short runs. 0: no limit."""
    spread: SpreadWeights = SpreadWeights()
    """Weights of the terms that keep the embeddings of different recordings apart (C-JEPA)."""
    difference: Literal["l1", "smooth_l1"] = "l1"
    """Loss between a predicted token and its target; smooth_l1 is quadratic below 1."""
    normalised_targets: bool = True
    """Standardises each target to mean 0 and variance 1 over its channels, as in I-JEPA. The tokens
    of vit1d are layer-normalised anyway; other encoders could shrink their tokens to reduce the
    loss."""
    predictor_width: int = 96
    """Channels of the predictor, which is discarded after pre-training."""
    predictor_layers: int = 8
    """Transformer blocks of the predictor."""
    predictor_heads: int = 4
    """Attention heads of the predictor."""
    span_samples: int = 25
    """Samples of a token's span, for encoders without patches."""

    examples = "single"

    def __post_init__(self):
        kept_is_valid = 0 < self.kept[0] <= self.kept[1] < 1
        shares = (*self.momentum, self.memory)
        if not (kept_is_valid and 0 <= min(shares) <= max(shares) <= 1):
            raise InputError(
                f"kept {self.kept}, momentum {self.momentum}, memory {self.memory}: give shares "
                f"between 0 and 1, the smaller kept one first"
            )
        if not (self.shortest_block_s > 0 and self.span_samples >= 1):
            raise InputError(
                f"shortest_block_s {self.shortest_block_s}, span_samples {self.span_samples}: give "
                f"positive numbers"
            )
        check_transformer(
            "predictor",
            width=self.predictor_width,
            layers=self.predictor_layers,
            heads=self.predictor_heads,
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        mask = jnp.zeros((len(signal), self.columns(encoder, signal)), bool)
        variables = dict(JepaNetwork(encoder, self).init(key, signal, mask, train=False))
        return variables | {"result": {"params": {"encoder": variables["params"]["encoder"]}}}

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the difference between predicted and target tokens; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], "progress" and "num_steps".
        """
        signal = preprocess(batch["signal"])
        columns = self.columns(encoder, signal)
        column_s = signal.shape[1] / preprocess.rate_hz / columns
        shortest = max(round(self.shortest_block_s / column_s), 1)
        mask = self.draw_mask(key, len(signal), columns, shortest=shortest)
        own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
        (predicted, visible), _ = JepaNetwork(encoder, self).apply(
            own, signal, mask, train=True, mutable=["batch_stats"]
        )

        first, last = self.momentum
        decay = first + (last - first) * batch["progress"]
        decay = limit_decay(decay, batch["num_steps"], memory=self.memory)
        average = ema_update(
            variables["result"]["params"]["encoder"], variables["params"]["encoder"], decay
        )
        tokens, embedding, updates = self._encode_target(encoder, own, average, signal)
        target = tokens.reshape(predicted.shape)
        loss = prediction_loss(predicted, target, mask, smooth=self.difference == "smooth_l1")
        terms = spread_terms(visible)
        loss += self.spread.total(terms)
        metrics = {"target_std": target.std((0, 1, 2)).mean(), "hidden": mask.mean(), **terms}
        return loss, (
            metrics | collapse_metrics(embedding),
            updates | {"result": {"params": {"encoder": average}}},
        )

    def draw_mask(self, key: jax.Array, batch: int, columns: int, *, shortest: int) -> jax.Array:
        """Draws a block mask per recording, bool [batch, column], with equal masked shares."""
        share_key, key = jax.random.split(key)
        share = jax.random.uniform(share_key, (), minval=self.kept[0], maxval=self.kept[1])
        count = jnp.ceil(share * columns).astype(jnp.int32)
        visible = jnp.clip(count, 0, self.max_visible(columns))
        keys = jax.random.split(key, batch)
        return jax.vmap(lambda key: block_mask(key, columns, visible, shortest=shortest))(keys)

    def max_visible(self, columns: int) -> int:
        """Returns the largest number of visible columns; at least one column is masked."""
        return min(math.ceil(self.kept[1] * columns), columns - 1)

    def columns(self, encoder: nn.Module, signal: jax.Array) -> int:
        """Returns the number of token columns of a signal [batch, time, lead].

        Raises:
          InputError: there are fewer than two columns.
        """
        if encodes_visible_patches(encoder):
            columns = jax.eval_shape(encoder.patches, signal).shape[2]
        else:
            columns = -(-signal.shape[1] // self.span_samples)
        if columns < 2:
            raise InputError(
                f"recordings of {signal.shape[1]} samples are one token, so nothing can be masked: "
                f"give a span of fewer samples, longer recordings, or an encoder with shorter "
                f"patches"
            )
        return columns

    def _encode_target(
        self, encoder: nn.Module, own: dict, average: dict, signal: jax.Array
    ) -> tuple[jax.Array, jax.Array, dict]:
        """Encodes whole recordings with the target encoder, without gradient.

        Args:
          encoder: the encoder.
          own: the objective's variables; their batch statistics are updated by this pass, because
            the target encoder is the one that is saved.
          average: parameters of the target encoder.
          signal: [batch, time, lead].

        Returns:
          The target tokens [batch, token, width], the embedding, and the updated batch statistics.
        """
        statistics = {"batch_stats": own["batch_stats"]["encoder"]} if "batch_stats" in own else {}
        encoded: Any
        if encodes_visible_patches(encoder):
            patches = encoder.patches(signal)
            encoded = encoder.apply({"params": average}, patches, method="encode")
            tokens, embedding = encoded
            statistics = {}
        else:
            encoded = encoder.apply(
                {"params": average, **statistics}, signal, train=True, mutable=["batch_stats"]
            )
            (tokens, embedding), statistics = encoded
            tokens = resample_tokens(tokens, signal.shape[1], self.span_samples)
        if self.normalised_targets:
            variance = tokens.var(-1, keepdims=True)  # the default is less accurate
            tokens = jax.nn.standardize(tokens, variance=variance, epsilon=1e-6)
        updates = {name: {"encoder": updated} for name, updated in statistics.items()}
        return jax.lax.stop_gradient(tokens), embedding, jax.lax.stop_gradient(updates)


def prediction_loss(
    predicted: jax.Array, target: jax.Array, mask: jax.Array, *, smooth: bool
) -> jax.Array:
    """L1 loss over masked positions, or smooth L1: half the square below 1, |x| - 0.5 above.

    Args:
      predicted: [batch, row, column, channel].
      target: target tokens of the same shape.
      mask: bool [batch, column], True where masked.
      smooth: whether to use smooth L1.
    """
    difference = jnp.abs(predicted - target)
    if smooth:  # optax.losses.huber_loss has the same values, but its gradient is less exact
        difference = jnp.where(difference < 1, 0.5 * jnp.square(difference), difference - 0.5)
    return masked_mean(difference, jnp.broadcast_to(mask[:, None, :, None], difference.shape))


class JepaNetwork(nn.Module):
    """The encoder of the visible part, and the predictor of all tokens."""

    encoder: nn.Module
    settings: Jepa

    @nn.compact
    def __call__(
        self, signal: jax.Array, mask: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Predicts the target tokens of a signal.

        Args:
          signal: [batch, time, lead].
          mask: bool [batch, column], True where masked.
          train: the encoder's `train`.

        Returns:
          The predictions [batch, row, column, channel], and the embedding of the visible part
          [batch, dimension].
        """
        if not encodes_visible_patches(self.encoder):
            span = self.settings.span_samples
            tokens, embedding = self.encoder(mask_signal(signal, mask[:, None], span), train=train)
            tokens = resample_tokens(tokens, signal.shape[1], span)
            return self._predictor(tokens.shape[-1])(tokens, 1, mask.shape[1]), embedding
        patches = self.encoder.patches(signal)
        rows, columns = patches.shape[1:3]
        patch_mask = jnp.tile(mask, (1, rows))
        # The number of visible patches is drawn, but shapes are fixed: the list has the largest
        # possible length, and `valid` is False for its masked entries.
        visible = jnp.argsort(patch_mask, axis=1)[:, : rows * self.settings.max_visible(columns)]
        valid = ~jnp.take_along_axis(patch_mask, visible, axis=1)
        tokens, embedding = self.encoder.encode(patches, visible, valid)
        predictor = self._predictor(tokens.shape[-1])
        return predictor(tokens, rows, columns, visible, valid), embedding

    def _predictor(self, width: int) -> TokenDecoder:
        return TokenDecoder(
            self.settings.predictor_width,
            self.settings.predictor_layers,
            self.settings.predictor_heads,
            width,
            name="predictor",
        )
