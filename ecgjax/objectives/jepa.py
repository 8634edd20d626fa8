"""Joint-embedding prediction: what a slow copy of the encoder says of hidden stretches is predicted from the rest.

The objective of Weimann & Conrad's ECG-JEPA (https://github.com/kweimann/ECG-JEPA; I-JEPA, arXiv:2301.08243, on
ECGs), with its settings: an encoder sees 15 to 25 % of the tokens, left over by contiguous hidden blocks; a narrow
transformer predicts the target encoder's tokens at all hidden places; the loss is the mean absolute difference, and the
target encoder, which is the one that is kept, keeps 0.998 to 0.9995 of itself at each step. `difference` has the smooth
L1 of Kim's ECG-JEPA (arXiv:2410.08559) as well. Blocks hide a stretch of time in all leads, as there.

An encoder without patches sees 0 in the hidden stretches; what its slow copy makes of the whole recording is then the
target, averaged over spans of `span_samples`.
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
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.masking import (
    hidden_in_blocks,
    hides_patches,
    in_spans,
    mean_where,
    normalised,
    silenced,
)
from ecgjax.objectives.parts.token_decoder import TokenDecoder
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Jepa:
    """Settings of joint-embedding predictive pre-training."""

    kept: tuple[float, float] = (0.15, 0.25)
    """Least and largest share of a recording that the encoder sees, drawn for each batch."""
    shortest_block_s: float = 0.5
    """Shortest hidden stretch in seconds (10 patches of 50 ms there)."""
    momentum: tuple[float, float] = (0.998, 0.9995)
    """Share of itself that the slow encoder keeps at each step, at the beginning and at the end of the run."""
    difference: Literal["l1", "smooth_l1"] = "l1"
    """How a predicted token is compared with its target; smooth_l1 is quadratic below 1."""
    normalised_targets: bool = True
    """Whether a target has mean 0 and variance 1 over its channels, as I-JEPA's. A vit1d ends with such a normalisation
    anyway; others could shrink their tokens to please the loss."""
    predictor_width: int = 96
    """Channels of the predictor, which is thrown away after pre-training."""
    predictor_layers: int = 8
    """Transformer blocks of the predictor."""
    predictor_heads: int = 4
    """Attention heads of the predictor."""
    span_samples: int = 25
    """Samples of a token's stretch, for encoders without patches."""

    examples = "single"

    def __post_init__(self):
        if (
            not 0 < self.kept[0] <= self.kept[1] < 1
            or not 0 <= min(self.momentum) <= max(self.momentum) <= 1
        ):
            raise InputError(
                f"kept {self.kept}, momentum {self.momentum}: give shares between 0 and 1, the smaller kept one first"
            )
        if not (self.shortest_block_s > 0 and self.span_samples >= 1):
            raise InputError(
                f"shortest_block_s {self.shortest_block_s}, span_samples {self.span_samples}: give positive numbers"
            )
        check_transformer(
            "predictor",
            width=self.predictor_width,
            layers=self.predictor_layers,
            heads=self.predictor_heads,
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        hidden = jnp.zeros((len(signal), self._columns(encoder, signal)), bool)
        variables = dict(_Predicting(encoder, self).init(key, signal, hidden, train=False))
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
        """Mean difference between predicted and target tokens at hidden places.

        Of batch: signal int16 [recording, time, lead]; progress, the share of the run that is done.
        """
        signal = preprocess(batch["signal"])
        columns = self._columns(encoder, signal)
        column_s = signal.shape[1] / preprocess.rate_hz / columns
        hidden = self.hide(
            key, len(signal), columns, shortest=max(round(self.shortest_block_s / column_s), 1)
        )
        own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
        predicted, _ = _Predicting(encoder, self).apply(
            own, signal, hidden, train=True, mutable=["batch_stats"]
        )

        first, last = self.momentum
        keep = first + (last - first) * batch["progress"]
        slow = ema_update(
            variables["result"]["params"]["encoder"], variables["params"]["encoder"], keep
        )
        tokens, embedding, statistics = self._whole(encoder, own, slow, signal)
        target = tokens.reshape(predicted.shape)
        loss = hidden_difference(predicted, target, hidden, smooth=self.difference == "smooth_l1")
        metrics = {"target_std": target.std((0, 1, 2)).mean(), "hidden": hidden.mean()}
        return loss, (
            metrics | collapse_metrics(embedding),
            statistics | {"result": {"params": {"encoder": slow}}},
        )

    def hide(self, key: jax.Array, batch: int, columns: int, *, shortest: int) -> jax.Array:
        """Where recordings are hidden, bool [batch, column]: equally much of each."""
        share_key, key = jax.random.split(key)
        share = jax.random.uniform(share_key, (), minval=self.kept[0], maxval=self.kept[1])
        kept = jnp.clip(jnp.ceil(share * columns).astype(jnp.int32), 0, self.most(columns))
        keys = jax.random.split(key, batch)
        return jax.vmap(lambda key: hidden_in_blocks(key, columns, kept, shortest=shortest))(keys)

    def most(self, columns: int) -> int:
        """Columns that are kept at most; one at least is hidden."""
        return min(math.ceil(self.kept[1] * columns), columns - 1)

    def _columns(self, encoder: nn.Module, signal: jax.Array) -> int:
        if hides_patches(encoder):
            columns = jax.eval_shape(encoder.patches, signal).shape[2]
        else:
            columns = -(-signal.shape[1] // self.span_samples)
        if columns < 2:
            raise InputError(
                f"recordings of {signal.shape[1]} samples are one token, so nothing can be hidden: give a span of "
                f"fewer samples, longer recordings, or an encoder with shorter patches"
            )
        return columns

    def _whole(
        self, encoder: nn.Module, own: dict, slow: dict, signal: jax.Array
    ) -> tuple[jax.Array, jax.Array, dict]:
        """What the slow encoder makes of whole recordings; no gradient passes.

        Returns:
          The target tokens [batch, token, width], the embedding, and its batch statistics, which are the ones that are
          remembered: it is the encoder that is kept.
        """
        statistics = {"batch_stats": own["batch_stats"]["encoder"]} if "batch_stats" in own else {}
        if hides_patches(encoder):
            found: Any = encoder.apply({"params": slow}, encoder.patches(signal), method="encode")
            (tokens, embedding), statistics = found, {}
        else:
            seen = encoder.apply(
                {"params": slow, **statistics}, signal, train=True, mutable=["batch_stats"]
            )
            (tokens, embedding), statistics = seen
            tokens = in_spans(tokens, signal.shape[1], self.span_samples)
        tokens = normalised(tokens) if self.normalised_targets else tokens
        updates = {name: {"encoder": updated} for name, updated in statistics.items()}
        return jax.lax.stop_gradient(tokens), embedding, jax.lax.stop_gradient(updates)


def hidden_difference(
    predicted: jax.Array, target: jax.Array, hidden: jax.Array, *, smooth: bool
) -> jax.Array:
    """Mean absolute difference over hidden places, or smooth L1: half the square below 1, less a half above.

    Args:
      predicted: [batch, row, column, channel].
      target: the same shape.
      hidden: bool [batch, column].
      smooth: whether it is smooth L1.
    """
    difference = jnp.abs(predicted - target)
    if smooth:
        difference = jnp.where(difference < 1, 0.5 * jnp.square(difference), difference - 0.5)
    return mean_where(difference, jnp.broadcast_to(hidden[:, None, :, None], difference.shape))


class _Predicting(nn.Module):
    """Encodes what is not hidden, predicts tokens everywhere."""

    encoder: nn.Module
    settings: Jepa

    @nn.compact
    def __call__(self, signal: jax.Array, hidden: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, lead], bool [batch, column] -> predicted tokens [batch, row, column, channel]."""
        if not hides_patches(self.encoder):
            tokens, _ = self.encoder(
                silenced(signal, hidden[:, None], self.settings.span_samples), train=train
            )
            spans = in_spans(tokens, signal.shape[1], self.settings.span_samples)
            return self._predictor(tokens.shape[-1])(spans, 1, hidden.shape[1])
        patches = self.encoder.patches(signal)
        rows, columns = patches.shape[1:3]
        everywhere = jnp.tile(hidden, (1, rows))
        # A place for as many as may be kept, so that shapes are fixed; those left over are not valid.
        kept = jnp.argsort(everywhere, axis=1)[:, : rows * self.settings.most(columns)]
        valid = ~jnp.take_along_axis(everywhere, kept, axis=1)
        tokens, _ = self.encoder.encode(patches, kept, valid)
        return self._predictor(tokens.shape[-1])(tokens, rows, columns, kept, valid)

    def _predictor(self, width: int) -> TokenDecoder:
        own = self.settings
        return TokenDecoder(
            own.predictor_width, own.predictor_layers, own.predictor_heads, width, name="predictor"
        )
