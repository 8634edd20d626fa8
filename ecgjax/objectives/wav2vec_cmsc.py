"""wav2vec 2.0 with contrast of segments and random lead masking: the pre-training of ECG-FM and DeepECG-SSL.

Oh et al. 2022 (arXiv:2203.06889) as in https://github.com/Jwoo5/fairseq-signals
(examples/w2v_cmsc/config/pretraining/w2v_cmsc_rlm.yaml), whose settings these are. A recording gives two adjacent
segments, each with half of its leads silenced at random. Within a segment spans of local features are hidden, and the
transformer's output there has to be told by its quantised feature from those of the segment's other hidden places
(wav2vec 2.0, arXiv:2006.11477). Between the segments, seen without hiding, those of one patient attract each other
(CMSC of CLOCS, arXiv:2005.13249).

Negatives are all other hidden places of a segment; there 100 are drawn of them with repetition, out of about 75. The
temperature of the quantiser's choice falls with the progress of the run, there with each step until it reaches its
last value.

An encoder without the methods of wav2vec_transformer sees 0 in the hidden stretches; local features are then a linear
map of `span_samples` of the signal.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL
from ecgjax.encoders.vit1d import patches
from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import hidden_by_chance, in_spans, seen_whole, silenced
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.quantiser import GumbelQuantiser, hidden_contrast, unused_codes
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Wav2vecCmsc:
    """Settings of wav2vec 2.0 with CMSC and random lead masking."""

    temperature: float = 0.1
    """Cosine similarities of both contrasts are divided by this."""
    starts: float = 0.065
    """Share of the places at which a hidden stretch starts."""
    stretch: int = 10
    """Places of a hidden stretch; at most a third of a segment's, of which two are hidden at least."""
    lead_mask: float = 0.5
    """Probability that a lead of a segment is silenced."""
    cmsc: float = 1.0
    """Weight of the contrast of segments; that of the contrast of hidden places is 1."""
    diversity: float = 0.1
    """Weight of the share of codes that are not used."""
    penalty: float = 10.0
    """Weight of the mean square of local features."""
    feature_gradient: float = 0.1
    """Local features' gradient is multiplied by this."""
    codebooks: int = 2
    """Codebooks of the quantiser."""
    codes: int = 320
    """Codes of a codebook."""
    softness: tuple[float, float] = (2.0, 0.5)
    """Temperature of the choice of codes, at the beginning and at the end of the run."""
    width: int = 256
    """Channels of what is compared, and of local features where the encoder has none."""
    span_samples: int = 16
    """Samples of a local feature, for encoders without such (those of wav2vec_transformer have 16, too)."""

    examples = "single"

    def __post_init__(self):
        warm = all(value > 0 for value in (self.temperature, *self.softness))
        if not (warm and 0 <= self.lead_mask < 1 and 0 < self.starts < 1):
            raise InputError(
                f"temperature {self.temperature}, softness {self.softness}, lead_mask {self.lead_mask}, starts "
                f"{self.starts}: give temperatures above 0 and shares below 1"
            )
        if not all(
            value >= 0 for value in (self.cmsc, self.diversity, self.penalty, self.feature_gradient)
        ):
            raise InputError(
                f"cmsc {self.cmsc}, diversity {self.diversity}, penalty {self.penalty}, feature_gradient "
                f"{self.feature_gradient}: give weights of 0 or more"
            )
        positive = min(self.width, self.codebooks, self.stretch, self.span_samples) >= 1
        if not positive or self.codes < 2 or self.width % self.codebooks:
            raise InputError(
                f"width {self.width}, codebooks {self.codebooks}, codes {self.codes}, stretch {self.stretch}, "
                f"span_samples {self.span_samples}: give positive numbers, two codes or more, and a width that is a "
                f"multiple of the codebooks"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        half = signal[:, : signal.shape[1] // 2]
        return dict(_Hiding(encoder, self).init(key, half, key, jnp.ones(()), train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Weighted sum of both contrasts, of unused codes and of the local features' size.

        Of batch: signal int16 [recording, time, lead]; patient int32 [recording]; progress, the share of the run that
        is done.
        """
        lead_key, key = jax.random.split(key)
        signal = preprocess(batch["signal"])
        half = signal.shape[1] // 2
        segments = jnp.stack([signal[:, :half], signal[:, half : 2 * half]], axis=1)
        silent = jax.random.bernoulli(
            lead_key, self.lead_mask, (len(signal), 2, 1, signal.shape[2])
        )
        segments = jnp.where(silent, 0.0, segments).reshape(-1, half, signal.shape[2])
        first, last = self.softness
        softness = first * (last / first) ** batch["progress"]
        made, _ = _Hiding(encoder, self).apply(
            variables, segments, key, softness, train=True, mutable=["batch_stats"]
        )
        hidden = made["hidden"]
        contrast, accuracy = hidden_contrast(
            made["predicted"], made["target"], made["codes"], hidden, temperature=self.temperature
        )
        pairs = made["embedding"].reshape(len(signal), 2, -1)
        cmsc = segment_contrast(pairs, batch["patient"], temperature=self.temperature)
        unused = unused_codes(made["probability"], hidden)
        loss = contrast + self.cmsc * cmsc + self.diversity * unused + self.penalty * made["size"]
        metrics, updates = seen_whole(encoder, variables, signal)
        parts = {
            "contrast": contrast,
            "cmsc": cmsc,
            "unused_codes": unused,
            "hidden_accuracy": accuracy,
        }
        return loss, (metrics | parts | {"feature_size": made["size"]}, updates)


def segment_contrast(pairs: jax.Array, patients: jax.Array, *, temperature: float) -> jax.Array:
    """CMSC: each first segment is told from all second ones, and each second one from all first ones.

    Args:
      pairs: [recording, 2, dimension].
      patients: int [recording]; all segments of one patient are positives, and count the same.
      temperature: divides the cosine similarities.
    """
    unit = unit_length(pairs)
    logits = jnp.einsum("id,jd->ij", unit[:, 0], unit[:, 1], precision="highest") / temperature
    same = (patients[:, None] == patients[None]).astype(jnp.float32)
    share = same / same.sum(1, keepdims=True)
    there, back = ((share * jax.nn.log_softmax(way)).sum(1).mean() for way in (logits, logits.T))
    return -(there + back) / 2


class _Hiding(nn.Module):
    """Local features, quantised; and what is said at hidden places by an encoder that does not see them."""

    encoder: nn.Module
    settings: Wav2vecCmsc

    @nn.compact
    def __call__(
        self, signal: jax.Array, key: jax.Array, softness: jax.Array, *, train: bool
    ) -> dict[str, jax.Array]:
        """Segments [batch, time, lead] -> what the losses compare, by name."""
        hide_key, code_key = jax.random.split(key)
        own = hasattr(self.encoder, "features") and hasattr(self.encoder, "context")
        features = self.encoder.features(signal) if own else self._of_stretches(signal)
        rate = self.settings.feature_gradient
        features = rate * features + (1 - rate) * jax.lax.stop_gradient(features)
        size = jnp.square(features).mean()
        hidden = self._hide(hide_key, *features.shape[:2])
        if own:
            features = self.encoder.normalised(features)
            entering = self.encoder.enter(features)
            unseen = self.param("unseen", SMALL, entering.shape[-1:]).astype(entering.dtype)
            tokens, _ = self.encoder.context(
                jnp.where(hidden[..., None], unseen[None, None], entering)
            )
            _, embedding = self.encoder.context(entering)
        else:
            features = nn.LayerNorm(name="local_norm")(features)
            tokens, _ = self.encoder(
                silenced(signal, hidden[:, None], self.settings.span_samples), train=train
            )
            tokens = in_spans(tokens, signal.shape[1], self.settings.span_samples)
            _, embedding = self.encoder(signal, train=train)
        made = self._compared(features, tokens, code_key, softness)
        return made | {"hidden": hidden, "embedding": embedding, "size": size}

    def _compared(
        self, features: jax.Array, tokens: jax.Array, key: jax.Array, softness: jax.Array
    ) -> dict:
        own = self.settings
        quantiser = GumbelQuantiser(own.codebooks, own.codes, own.width, name="quantiser")
        quantised, codes, probability = quantiser(features, key, softness)
        return {
            "target": nn.Dense(own.width, name="target")(quantised),
            "predicted": nn.Dense(own.width, name="predicted")(tokens),
            "codes": codes,
            "probability": probability,
        }

    def _of_stretches(self, signal: jax.Array) -> jax.Array:
        """[batch, time, lead] -> [batch, place, width]."""
        spans = patches(signal, self.settings.span_samples, by_lead=False)[:, 0]
        return nn.Dense(self.settings.width, name="local")(spans)

    def _hide(self, key: jax.Array, batch: int, places: int) -> jax.Array:
        """Where stretches are hidden, bool [batch, place]; they may overlap."""
        stretch = min(self.settings.stretch, max(places // 3, 1))
        choices = places - stretch + 1
        count = min(max(round(self.settings.starts * places), 2), choices)
        _, start = hidden_by_chance(key, (batch, choices), count)
        place = jnp.arange(places)[None, :, None]
        return ((place >= start[:, None]) & (place < start[:, None] + stretch)).any(-1)
