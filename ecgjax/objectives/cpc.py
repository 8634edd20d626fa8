"""CPC: from what came before, pick the recording's own next token among others.

Contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748) as Mehari & Strodthoff 2022
(arXiv:2103.12676, hhi-aml/ecg-selfsupervised) train it: one horizon of 12 tokens (0.12 s at 100 Hz), 128 negatives from
the same sequence, dot products without a temperature, a linear prediction without bias, whole recordings of 10 s that
nothing augments. ECG-CPC (AI4HealthUOL/ecg-fm-benchmarking): 14 tokens, a hidden layer of 512, crops of 2.5 s.

An encoder for CPC has methods `local` (signal -> tokens that know their surroundings), `context` (tokens -> what came
before each) and `pool` (context -> embedding). Any other gives its tokens as local ones, and an LSTM that is thrown
away makes their context. Its tokens see each other's samples, and by the padding at the ends where they are: enough to
tell those of one recording apart, and compact_resnet learnt nothing else (it got worse than untrained; benchmarks/
RESULTS.md). Such encoders therefore choose among tokens of the whole batch, as van den Oord et al. do; see
`negatives_of`. A transformer's tokens (vit1d, wav2vec_transformer) see what is to be foretold, too: they learn little.
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
from ecgjax.objectives.parts.microbatches import in_microbatches
from ecgjax.objectives.parts.projection_head import check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Cpc:
    """Settings of CPC."""

    steps: int = 12
    """Tokens between the context and the token to pick."""
    negatives: int = 128
    """Tokens among which it is picked, drawn with replacement: of a recording for each of its tokens anew, of a batch
    for all at once."""
    negatives_of: Literal["recording", "batch"] | None = None
    """Where they are drawn from. None: the recording, if the encoder makes a context of its own, else the batch."""
    hidden: tuple[int, ...] = ()
    """Widths of the prediction's hidden layers; none: a linear map."""
    lstm: int = 512
    """Width of the context that encoders without one are given."""
    augmentation: Augmentation = PLAIN_VIEWS
    """What is done to a recording; only a crop here."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

    examples = "single"

    def __post_init__(self):
        if min(self.steps, self.negatives, self.lstm) < 1:
            raise InputError(
                f"steps {self.steps}, negatives {self.negatives}, lstm {self.lstm}: give 1 or more of each"
            )
        check_widths(none=True, hidden=self.hidden)

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
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
        """InfoNCE of batch["signal"], int16 [recording, time, lead]."""
        view_key, draw_key = jax.random.split(key)

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> embedding, tokens and predictions."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)
            return self._network(encoder).apply(
                variables, views, train=True, mutable=["batch_stats"]
            )

        (embedding, tokens, predictions), updates = in_microbatches(
            encode, batch["signal"], view_key, size=self.microbatch
        )
        place = self.negatives_of or ("recording" if hasattr(encoder, "local") else "batch")
        candidates = of_the_recording if place == "recording" else of_the_batch
        right, others = candidates(
            draw_key, predictions, tokens, steps=self.steps, negatives=self.negatives
        )
        loss, accuracy = info_nce(right, others)
        return loss, ({"pick_accuracy": accuracy} | collapse_metrics(embedding), updates)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Predicting(encoder=encoder, hidden=self.hidden, width=self.lstm)


def of_the_recording(
    key: jax.Array, predictions: jax.Array, tokens: jax.Array, *, steps: int, negatives: int
) -> tuple[jax.Array, jax.Array]:
    """Products of each prediction with the token `steps` ahead and with others of its recording.

    Args:
      key: draws the others.
      predictions: float32 [recording, token, width], one for each context; those of the last `steps` are not used.
      tokens: float32 [recording, token, width].
      steps: how far ahead the right token is.
      negatives: how many others to draw for each context.

    Returns:
      float32 [recording, token - steps] and [recording, token - steps, negatives].

    Raises:
      InputError: a recording has no token so far ahead.
    """
    recordings, time, _ = tokens.shape
    drawn = draw_negatives(key, (recordings, time), steps=steps, negatives=negatives)
    # All products of a recording once, [context, token]: its negatives side by side would be 128 times its tokens.
    products = jnp.einsum("rcw,rtw->rct", predictions[:, :-steps], tokens, precision="highest")
    return jnp.diagonal(products, offset=steps, axis1=1, axis2=2), jnp.take_along_axis(
        products, drawn, axis=2
    )


def of_the_batch(
    key: jax.Array, predictions: jax.Array, tokens: jax.Array, *, steps: int, negatives: int
) -> tuple[jax.Array, jax.Array]:
    """As `of_the_recording`, but the others are drawn once from the whole batch; a context's own right one is -inf."""
    recordings, time, width = tokens.shape
    _check_horizon(time, steps)
    drawn = jax.random.randint(key, (negatives,), 0, recordings * time)
    contexts = predictions[:, :-steps]
    right = jnp.einsum("rcw,rcw->rc", contexts, tokens[:, steps:], precision="highest")
    others = jnp.einsum(
        "rcw,nw->rcn", contexts, tokens.reshape(-1, width)[drawn], precision="highest"
    )
    own = jnp.arange(recordings * time).reshape(recordings, time, 1)[:, steps:]
    return right, jnp.where(own == drawn[None, None], -jnp.inf, others)


def draw_negatives(
    key: jax.Array, shape: tuple[int, int], *, steps: int, negatives: int
) -> jax.Array:
    """int32 [recording, token - steps, negatives]: places of tokens of `shape` other than the one `steps` ahead."""
    recordings, tokens = shape
    _check_horizon(tokens, steps)
    drawn = jax.random.randint(key, (recordings, tokens - steps, negatives), 0, tokens - 1)
    right = jnp.arange(steps, tokens)[None, :, None]
    return drawn + (drawn >= right)


def _check_horizon(tokens: int, steps: int) -> None:
    if tokens <= steps:
        raise InputError(
            f"--steps {steps}: the encoder makes {tokens} tokens of a recording; give fewer steps than tokens"
        )


def info_nce(right: jax.Array, others: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean cross entropy of picking the right one (arXiv:1807.03748, eq. 4), and how often it is the most likely.

    Args:
      right: float32 [...], what speaks for the right one.
      others: float32 [..., negative].
    """
    total = jax.nn.logsumexp(jnp.concatenate([right[..., None], others], axis=-1), axis=-1)
    return (total - right).mean(), (right > others.max(-1)).mean()


class _Predicting(nn.Module):
    """Encoder, context and prediction."""

    encoder: nn.Module
    hidden: tuple[int, ...]
    width: int

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[batch, time, lead] -> embedding [batch, dimension], tokens and predictions [batch, token, width]."""
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
