"""CPC: from the past of a recording, identify its own future token among negatives.

Contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748) as Mehari & Strodthoff
2022 (arXiv:2103.12676, hhi-aml/ecg-selfsupervised) train it: one horizon of 12 tokens (0.12 s at
100 Hz), 128 negatives from the same sequence, dot products without a temperature, a linear
prediction without bias, whole recordings of 10 s without augmentation. ECG-CPC
(AI4HealthUOL/ecg-fm-benchmarking): 14 tokens, a hidden layer of 512, crops of 2.5 s.

An encoder for CPC has the methods `local` (signal -> tokens of their surroundings), `context`
(tokens -> context of the past at each token) and `pool` (context -> embedding). For any other
encoder its tokens are the local ones, and an LSTM, discarded after pre-training, computes their
context. The receptive fields of such tokens overlap, and padding marks their position near the
ends. That is enough to distinguish the tokens of one recording, and compact_resnet learned nothing
else (it became worse than untrained; docs/earlier-results.md). Such encoders therefore use
negatives from the whole batch, as van den Oord et al. do; see `negatives_of`. The tokens of a
transformer (vit1d, wav2vec_transformer) also see the future that is to be predicted, so these
encoders learn little.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import PLAIN_VIEWS, Augmentation
from ecgjax.encoders.parts.context import Lstm
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.objectives.parts.projection_head import check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Cpc:
    """Settings of CPC."""

    steps: int = 12
    """Prediction horizon: tokens between the context and the token to identify."""
    negatives: int = 128
    """Negatives per context, drawn with replacement. Negatives of the recording are drawn for each
    context, negatives of the batch once for all contexts."""
    negatives_of: Literal["recording", "batch"] | None = None
    """Source of the negatives. None: the recording if the encoder has its own context, otherwise
    the batch."""
    hidden: tuple[int, ...] = ()
    """Widths of the prediction's hidden layers; none: a linear map."""
    lstm: int = 512
    """Width of the LSTM that computes the context, for encoders without their own context."""
    augmentation: Augmentation = PLAIN_VIEWS
    """Augmentation of a recording; by default only a crop."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        if min(self.steps, self.negatives, self.lstm) < 1:
            raise InputError(
                f"steps {self.steps}, negatives {self.negatives}, lstm {self.lstm}: give 1 or more "
                f"of each"
            )
        check_widths(allow_empty=True, hidden=self.hidden)

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(self._network(encoder).init(key, signal, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the InfoNCE loss; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead].
        """
        view_key, draw_key = jax.random.split(key)

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> embedding, tokens and predictions, and updates."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)
            return self._network(encoder).apply(
                variables, views, train=True, mutable=["batch_stats"]
            )

        (embedding, tokens, predictions), updates = encode_in_microbatches(
            encode, batch["signal"], view_key, size=self.microbatch
        )
        source = self.negatives_of or ("recording" if hasattr(encoder, "local") else "batch")
        logits = recording_logits if source == "recording" else batch_logits
        positive, negative = logits(
            draw_key, predictions, tokens, steps=self.steps, negatives=self.negatives
        )
        loss, accuracy = info_nce(positive, negative)
        return loss, ({"pick_accuracy": accuracy} | collapse_metrics(embedding), updates)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _CpcNetwork(encoder=encoder, hidden=self.hidden, width=self.lstm)


def recording_logits(
    key: jax.Array, predictions: jax.Array, tokens: jax.Array, *, steps: int, negatives: int
) -> tuple[jax.Array, jax.Array]:
    """Returns products of each prediction with its future token and with tokens of its recording.

    Args:
      key: random key of the negatives.
      predictions: float32 [recording, token, width], one per context; the last `steps` are not
        used.
      tokens: float32 [recording, token, width].
      steps: prediction horizon.
      negatives: negatives per context.

    Returns:
      Positive float32 [recording, token - steps], negative [recording, token - steps, negatives].

    Raises:
      InputError: the recordings have no more than `steps` tokens.
    """
    recordings, time, _ = tokens.shape
    drawn = draw_negatives(key, (recordings, time), steps=steps, negatives=negatives)
    # All products [context, token] of a recording are computed once: collecting the negatives of
    # each context would take 128 times the memory of the tokens.
    products = jnp.einsum("rcw,rtw->rct", predictions[:, :-steps], tokens, precision="highest")
    positive = jnp.diagonal(products, offset=steps, axis1=1, axis2=2)
    return positive, jnp.take_along_axis(products, drawn, axis=2)


def batch_logits(
    key: jax.Array, predictions: jax.Array, tokens: jax.Array, *, steps: int, negatives: int
) -> tuple[jax.Array, jax.Array]:
    """Returns the same as `recording_logits`, with negatives drawn once from the whole batch.

    The logit is -inf where the token of a context itself was drawn as a negative.
    """
    recordings, time, width = tokens.shape
    _check_horizon(time, steps)
    drawn = jax.random.randint(key, (negatives,), 0, recordings * time)
    contexts = predictions[:, :-steps]
    positive = jnp.einsum("rcw,rcw->rc", contexts, tokens[:, steps:], precision="highest")
    negative = jnp.einsum(
        "rcw,nw->rcn", contexts, tokens.reshape(-1, width)[drawn], precision="highest"
    )
    own = jnp.arange(recordings * time).reshape(recordings, time, 1)[:, steps:]
    return positive, jnp.where(own == drawn[None, None], -jnp.inf, negative)


def draw_negatives(
    key: jax.Array, shape: tuple[int, int], *, steps: int, negatives: int
) -> jax.Array:
    """Draws negatives of each context among the tokens of its recording.

    Args:
      key: random key.
      shape: recordings and tokens per recording.
      steps: prediction horizon; the token at this distance is the positive and is never drawn.
      negatives: negatives per context.

    Returns:
      Token numbers, int32 [recording, token - steps, negatives].
    """
    recordings, tokens = shape
    _check_horizon(tokens, steps)
    drawn = jax.random.randint(key, (recordings, tokens - steps, negatives), 0, tokens - 1)
    positive = jnp.arange(steps, tokens)[None, :, None]
    return drawn + (drawn >= positive)


def _check_horizon(tokens: int, steps: int) -> None:
    if tokens <= steps:
        raise InputError(
            f"--steps {steps}: the encoder makes {tokens} tokens of a recording; give fewer steps "
            f"than tokens"
        )


def info_nce(positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the InfoNCE loss (arXiv:1807.03748, eq. 4) and the accuracy.

    Args:
      positive: float32 [...], logits of the positives.
      negative: float32 [..., negative], logits of the negatives.

    Returns:
      The mean cross entropy, and the share of positives that are larger than all their negatives.
    """
    total = jax.nn.logsumexp(jnp.concatenate([positive[..., None], negative], axis=-1), axis=-1)
    return (total - positive).mean(), (positive > negative.max(-1)).mean()


class _CpcNetwork(nn.Module):
    """Encoder, context and prediction."""

    encoder: nn.Module
    hidden: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Encodes recordings [batch, time, lead].

        Returns:
          Embedding [batch, dimension], tokens and predictions, each [batch, token, width].
        """
        if hasattr(self.encoder, "local"):
            tokens = self.encoder.local(signal, train=train)
            context = self.encoder.context(tokens, train=train)
            embedding = self.encoder.pool(context)
        else:
            tokens, embedding = self.encoder(signal, train=train)
            context = Lstm(self.width, name="lstm")(tokens)
        for number, width in enumerate(self.hidden, start=1):
            context = nn.relu(nn.Dense(width, name=f"hidden{number}")(context))
        predictions = nn.Dense(tokens.shape[-1], use_bias=False, name="predictor")(context)
        return embedding, tokens.astype(jnp.float32), predictions.astype(jnp.float32)
