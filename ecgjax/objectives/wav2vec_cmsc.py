"""wav2vec 2.0 with contrast of segments and random lead masking, as in ECG-FM and DeepECG-SSL.

Oh et al. 2022 (arXiv:2203.06889) as in https://github.com/Jwoo5/fairseq-signals
(examples/w2v_cmsc/config/pretraining/w2v_cmsc_rlm.yaml), with its settings. Each recording gives
two adjacent segments, and half of the leads of each segment are masked at random. Spans of the
local features are masked, and the transformer's output at a masked position must identify its
quantised feature among those of the segment's other masked positions (wav2vec 2.0,
arXiv:2006.11477). The unmasked segments of one patient attract each other (CMSC of CLOCS,
arXiv:2005.13249).

All other masked positions of a segment are negatives; the published code draws 100 of the about 75
positions with replacement. The temperature of the Gumbel softmax falls with the progress of the
run; in the published code it falls at each step until it reaches its final value.

An encoder without the methods of wav2vec_transformer gets a signal that is 0 in the masked spans.
Its local features are a linear map of `span_samples` samples of the signal.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.encoders.parts.transformer import SMALL
from ecgjax.encoders.vit1d import cut_patches
from ecgjax.errors import InputError
from ecgjax.objectives.parts.masking import (
    encode_unmasked,
    mask_signal,
    random_mask,
    resample_tokens,
)
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.quantiser import (
    GumbelQuantiser,
    diversity_loss,
    masked_contrastive_loss,
)
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Wav2vecCmsc:
    """Settings of wav2vec 2.0 with CMSC and random lead masking."""

    temperature: float = 0.1
    """Temperature of both contrastive losses; it divides the cosine similarities."""
    starts: float = 0.065
    """Share of the positions at which a masked span starts."""
    stretch: int = 10
    """Length of a masked span in positions; at most a third of the segment, which has at least two
    masked spans."""
    lead_mask: float = 0.5
    """Probability that a lead of a segment is masked."""
    cmsc: float = 1.0
    """Weight of the contrast of segments; the contrast of masked positions has weight 1."""
    diversity: float = 0.1
    """Weight of the diversity loss, the share of codes that are not used."""
    penalty: float = 10.0
    """Weight of the mean square of the local features."""
    feature_gradient: float = 0.1
    """Factor on the gradient of the local features."""
    codebooks: int = 2
    """Codebooks of the quantiser."""
    codes: int = 320
    """Codes per codebook."""
    softness: tuple[float, float] = (2.0, 0.5)
    """Temperature of the Gumbel softmax at the beginning and at the end of the run."""
    width: int = 256
    """Channels of the contrasted vectors, and of the local features if the encoder has none."""
    span_samples: int = 16
    """Samples of a local feature, for encoders without local features (wav2vec_transformer uses 16
    too)."""

    examples = "single"

    def __post_init__(self):
        temperatures = (self.temperature, *self.softness)
        shares_are_valid = 0 <= self.lead_mask < 1 and 0 < self.starts < 1
        if not (all(value > 0 for value in temperatures) and shares_are_valid):
            raise InputError(
                f"temperature {self.temperature}, softness {self.softness}, lead_mask "
                f"{self.lead_mask}, starts {self.starts}: give temperatures above 0 and shares "
                f"below 1"
            )
        weights = (self.cmsc, self.diversity, self.penalty, self.feature_gradient)
        if not all(value >= 0 for value in weights):
            raise InputError(
                f"cmsc {self.cmsc}, diversity {self.diversity}, penalty {self.penalty}, "
                f"feature_gradient {self.feature_gradient}: give weights of 0 or more"
            )
        positive = min(self.width, self.codebooks, self.stretch, self.span_samples) >= 1
        if not positive or self.codes < 2 or self.width % self.codebooks:
            raise InputError(
                f"width {self.width}, codebooks {self.codebooks}, codes {self.codes}, stretch "
                f"{self.stretch}, span_samples {self.span_samples}: give positive numbers, two "
                f"codes or more, and a width that is a multiple of the codebooks"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        half = signal[:, : signal.shape[1] // 2]
        network = Wav2vecNetwork(encoder, self)
        return dict(network.init(key, half, key, jnp.ones(()), train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the weighted sum of both contrasts, diversity loss and feature penalty.

        See `ecgjax.objectives`. `batch` has "signal", int16 [recording, time, lead], "patient",
        int32 [recording], and "progress".
        """
        lead_key, key = jax.random.split(key)
        signal = preprocess(batch["signal"])
        half = signal.shape[1] // 2
        segments = jnp.stack([signal[:, :half], signal[:, half : 2 * half]], axis=1)
        lead_mask = jax.random.bernoulli(
            lead_key, self.lead_mask, (len(signal), 2, 1, signal.shape[2])
        )
        segments = jnp.where(lead_mask, 0.0, segments).reshape(-1, half, signal.shape[2])
        first, last = self.softness
        gumbel_temperature = first * (last / first) ** batch["progress"]
        outputs, _ = Wav2vecNetwork(encoder, self).apply(
            variables, segments, key, gumbel_temperature, train=True, mutable=["batch_stats"]
        )
        mask = outputs["mask"]
        contrast, accuracy = masked_contrastive_loss(
            outputs["predicted"],
            outputs["target"],
            outputs["codes"],
            mask,
            temperature=self.temperature,
        )
        pairs = outputs["embedding"].reshape(len(signal), 2, -1)
        cmsc = cmsc_loss(pairs, batch["patient"], temperature=self.temperature)
        unused = diversity_loss(outputs["probability"], mask)
        feature_size = outputs["feature_size"]
        loss = contrast + self.cmsc * cmsc + self.diversity * unused + self.penalty * feature_size
        metrics, updates = encode_unmasked(encoder, variables, signal)
        terms = {
            "contrast": contrast,
            "cmsc": cmsc,
            "unused_codes": unused,
            "hidden_accuracy": accuracy,
        }
        return loss, (metrics | terms | {"feature_size": feature_size}, updates)


def cmsc_loss(pairs: jax.Array, patients: jax.Array, *, temperature: float) -> jax.Array:
    """CMSC loss: identify the other segment of a patient among those of all recordings.

    Args:
      pairs: [recording, 2, dimension].
      patients: int [recording]; all segments of one patient are positives with equal weight.
      temperature: divides the cosine similarities.
    """
    unit = unit_length(pairs)
    logits = jnp.einsum("id,jd->ij", unit[:, 0], unit[:, 1], precision="highest") / temperature
    same = (patients[:, None] == patients[None]).astype(jnp.float32)
    share = same / same.sum(1, keepdims=True)

    def log_likelihood(logits: jax.Array) -> jax.Array:
        return (share * jax.nn.log_softmax(logits)).sum(1).mean()

    return -(log_likelihood(logits) + log_likelihood(logits.T)) / 2


class Wav2vecNetwork(nn.Module):
    """Local features with their quantised targets, and predictions at masked positions."""

    encoder: nn.Module
    settings: Wav2vecCmsc

    @nn.compact
    def __call__(
        self, signal: jax.Array, key: jax.Array, gumbel_temperature: jax.Array, *, train: bool
    ) -> dict[str, jax.Array]:
        """Encodes segments [batch, time, lead], masked and unmasked.

        Returns:
          "mask", bool [batch, position]; "predicted" and "target", [batch, position, width];
          "codes" and "probability" of the quantiser; "embedding" [batch, dimension] of the unmasked
          segments; "feature_size", the mean square of the local features.
        """
        mask_key, code_key = jax.random.split(key)
        has_features = hasattr(self.encoder, "features") and hasattr(self.encoder, "context")
        features = self.encoder.features(signal) if has_features else self._linear_features(signal)
        rate = self.settings.feature_gradient
        features = rate * features + (1 - rate) * jax.lax.stop_gradient(features)
        size = jnp.square(features).mean()
        mask = self.draw_mask(mask_key, *features.shape[:2])
        if has_features:
            features = self.encoder.normalise(features)
            projected = self.encoder.project(features)
            unseen = self.param("unseen", SMALL, projected.shape[-1:]).astype(projected.dtype)
            masked = jnp.where(mask[..., None], unseen[None, None], projected)
            tokens, _ = self.encoder.context(masked)
            _, embedding = self.encoder.context(projected)
        else:
            features = nn.LayerNorm(name="local_norm")(features)
            span = self.settings.span_samples
            tokens, _ = self.encoder(mask_signal(signal, mask[:, None], span), train=train)
            tokens = resample_tokens(tokens, signal.shape[1], span)
            _, embedding = self.encoder(signal, train=train)
        outputs = self._predict(features, tokens, code_key, gumbel_temperature)
        return outputs | {"mask": mask, "embedding": embedding, "feature_size": size}

    def _predict(
        self,
        features: jax.Array,
        tokens: jax.Array,
        key: jax.Array,
        gumbel_temperature: jax.Array,
    ) -> dict[str, jax.Array]:
        settings = self.settings
        quantiser = GumbelQuantiser(
            settings.codebooks, settings.codes, settings.width, name="quantiser"
        )
        quantised, codes, probability = quantiser(features, key, gumbel_temperature)
        return {
            "target": nn.Dense(settings.width, name="target")(quantised),
            "predicted": nn.Dense(settings.width, name="predicted")(tokens),
            "codes": codes,
            "probability": probability,
        }

    def _linear_features(self, signal: jax.Array) -> jax.Array:
        """[batch, time, lead] -> linear features of each span [batch, position, width]."""
        spans = cut_patches(signal, self.settings.span_samples, per_lead=False)[:, 0]
        return nn.Dense(self.settings.width, name="local")(spans)

    def draw_mask(self, key: jax.Array, batch: int, positions: int) -> jax.Array:
        """Draws masked spans, which may overlap; bool [batch, position], True where masked."""
        length = min(self.settings.stretch, max(positions // 3, 1))
        choices = positions - length + 1
        count = min(max(round(self.settings.starts * positions), 2), choices)
        _, start = random_mask(key, (batch, choices), count)
        position = jnp.arange(positions)[None, :, None]
        return ((position >= start[:, None]) & (position < start[:, None] + length)).any(-1)
