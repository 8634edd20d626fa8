"""CPC: from what came before, pick the recording's own next token among others of the same recording.

Contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748) as Mehari & Strodthoff 2022
(arXiv:2103.12676, hhi-aml/ecg-selfsupervised) train it: one horizon of 12 tokens (0.12 s at 100 Hz), 128 negatives from
the same sequence, dot products without a temperature, a linear prediction without bias, whole recordings of 10 s that
nothing augments. ECG-CPC (AI4HealthUOL/ecg-fm-benchmarking): 14 tokens, a hidden layer of 512, crops of 2.5 s.

An encoder for CPC has methods `local` (signal -> tokens that know their surroundings), `context` (tokens -> what came
before each) and `pool` (context -> embedding). Any other gives its tokens as local ones, and an LSTM that is thrown
away makes their context; its tokens may see further than one step, which makes the task easier. A transformer's tokens
(vit1d, wav2vec_transformer) see the whole recording, and with it what is to be foretold: they learn little here.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.encoders.context import Lstm
from ecgjax.objectives.embedding_statistics import embedding_statistics
from ecgjax.objectives.microbatches import in_microbatches
from ecgjax.objectives.projection_head import check_widths
from ecgjax.preprocessing import Reader
from ecgjax.signals import InputError


@dataclasses.dataclass(frozen=True)
class Cpc:
    """Settings of CPC."""

    steps: int = 12
    """Tokens between the context and the token to pick."""
    negatives: int = 128
    """Tokens of the same recording among which it is picked, drawn anew for each with replacement."""
    hidden: tuple[int, ...] = ()
    """Widths of the prediction's hidden layers; none: a linear map."""
    lstm: int = 512
    """Width of the context that encoders without one are given."""
    augmentation: Augmentation = Augmentation(crop_s=10.0, lead_mask=0, gain=0, noise_mv=0, wander_mv=0, time_out=0)
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

    def loss(self, encoder: nn.Module, variables: dict, batch: dict, key: jax.Array, *, read: Reader):
        """InfoNCE within each recording of batch["signal"], int16 [recording, time, lead]."""

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> {"embedding": [recording, dimension], "loss", "accuracy": [recording]}."""
            view_key, draw_key = jax.random.split(key)
            recordings = read(signal)
            views = self.augmentation.views(recordings, view_key, rate_hz=read.rate_hz)
            (embedding, tokens, predictions), updates = self._network(encoder).apply(
                variables, views, train=True, mutable=["batch_stats"]
            )
            drawn = draw_negatives(draw_key, tokens.shape[:2], steps=self.steps, negatives=self.negatives)
            loss, accuracy = info_nce(predictions, tokens, drawn, steps=self.steps)
            return {"embedding": embedding, "loss": loss, "accuracy": accuracy}, updates

        found, updates = in_microbatches(encode, batch["signal"], key, size=self.microbatch)
        metrics = {"pick_accuracy": found["accuracy"].mean()} | embedding_statistics(found["embedding"])
        return found["loss"].mean(), (metrics, updates)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Predicting(encoder=encoder, hidden=self.hidden, width=self.lstm)


def draw_negatives(key: jax.Array, shape: tuple[int, int], *, steps: int, negatives: int) -> jax.Array:
    """int32 [recording, token - steps, negatives]: for each context places of tokens other than the one `steps` ahead.

    Args:
      key: draws them.
      shape: recordings, and tokens of each.
      steps: how far ahead the right token is.
      negatives: how many to draw.

    Raises:
      InputError: a recording has no token so far ahead.
    """
    recordings, tokens = shape
    if tokens <= steps:
        raise InputError(
            f"--steps {steps}: the encoder makes {tokens} tokens of a recording; give fewer steps than tokens"
        )
    drawn = jax.random.randint(key, (recordings, tokens - steps, negatives), 0, tokens - 1)
    right = jnp.arange(steps, tokens)[None, :, None]
    return drawn + (drawn >= right)


def info_nce(predictions: jax.Array, tokens: jax.Array, drawn: jax.Array, *, steps: int) -> tuple[jax.Array, jax.Array]:
    """Cross entropy of picking the token `steps` ahead by its product with the prediction (arXiv:1807.03748, eq. 4).

    Args:
      predictions: float32 [recording, token, width], one for each context; those of the last `steps` are not used.
      tokens: float32 [recording, token, width].
      drawn: int [recording, token - steps, negative], places of the other candidates.
      steps: how far ahead the right token is.

    Returns:
      Two [recording]: the mean loss, and the share of contexts that prefer the right token to all drawn ones.
    """
    # All products of a recording once, [context, token]: its negatives side by side would be 128 times its tokens.
    products = jnp.einsum("rcw,rtw->rct", predictions[:, :-steps], tokens, precision="highest")
    right = jnp.diagonal(products, offset=steps, axis1=1, axis2=2)
    others = jnp.take_along_axis(products, drawn, axis=2)
    log_sum = jnp.logaddexp(right, jax.nn.logsumexp(others, axis=2))
    return (log_sum - right).mean(1), (right > others.max(2)).mean(1)


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
