"""Adversarial views: a noisy view predicts a denoised one, against a discriminator of the two.

This is the objective of ASTCL (2024, IEEE TNNLS, doi:10.1109/TNNLS.2023.3272153) as far as its
abstract describes it. Views are made by adding noise and by removing it. The two recordings of a
positive pair are of one patient. A predictor and a stop-gradient replace the negatives. A
discriminator learns to recognise noisy views, and adversarial training of the encoder brings both
kinds of views into one distribution.

The abstract leaves details open; they follow the closest published relatives. Predictor and
stop-gradient in both directions are SimSiam's (arXiv:2011.10566), with narrower heads for a
narrower embedding. The adversarial part is gradient reversal with its ramp (Ganin & Lempitsky,
arXiv:1409.7495). Denoising keeps ST-MEM's band of 0.67 to 40 Hz (arXiv:2402.09450). The views have
different crops and different masked leads, so the predictor has to predict across time and leads;
the abstract describes no further spatiotemporal module.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.augment import OFF, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.byol import byol_loss
from ecgjax.objectives.parts.clean_statistics import clean_statistics
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.projection_head import (
    ProjectionHead,
    check_same_output,
    check_widths,
)
from ecgjax.objectives.parts.spread import SpreadWeights, spread_terms
from ecgjax.preprocessing import Preprocessor, band_pass


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """Settings of adversarial pre-training."""

    adversarial: float = 0.1
    """Weight of the adversarial loss; the prediction loss has weight 1. With 1.0 the
    discriminator's accuracy swings between 0 and 1 and the encoder learns nothing; with 0 it learns
    little (PTB-XL, 1,100 steps, superclass AUROC with 1,000 labels on fold 9, difference to random
    weights: -0.04 with 1.0, +0.00 with 0, +0.02 with 0.1)."""
    spread: SpreadWeights = SpreadWeights(variance=1.0, covariance=0.04)
    """Weights of the terms that keep the projections of different patients apart: without them the
    views agree too easily."""
    clean_statistics: bool = True
    """Takes the encoder's batch statistics, in the last tenth of the run, from whole recordings
    without noise and with all leads, as they are embedded later."""
    projection: tuple[int, ...] = (512, 512, 128)
    """Widths of the projection head's layers; all heads are discarded after pre-training."""
    prediction: tuple[int, ...] = (64, 128)
    """Widths of the predictor's layers: a bottleneck, then the projection head's last width."""
    discriminator: tuple[int, ...] = (128,)
    """Widths of the discriminator's hidden layers."""
    enhanced: Augmentation = dataclasses.replace(
        OFF, crop_s=2.5, lead_mask=0.5, noise_mv=0.1, wander_mv=0.5
    )
    """Augmentation of views with added noise: muscle noise (white) and baseline wander."""
    denoised: Augmentation = dataclasses.replace(OFF, crop_s=2.5, lead_mask=0.5)
    """Augmentation of views whose noise has been removed."""
    band_hz: tuple[float, float] = (0.67, 40.0)
    """Pass band of the denoising filter, in Hz."""

    examples = "patient_pair"

    def __post_init__(self):
        check_same_output(self.projection, self.prediction)
        check_widths(allow_empty=True, discriminator=self.discriminator)
        if not (self.adversarial >= 0 and 0 < self.band_hz[0] < self.band_hz[1]):
            raise InputError(
                f"adversarial {self.adversarial}, band_hz {self.band_hz}: give a weight of 0 or "
                f"more and two frequencies, the lower one first"
            )
        if self.enhanced.crop_s != self.denoised.crop_s:
            raise InputError(
                f"crop_s {self.enhanced.crop_s} and {self.denoised.crop_s}: give both views the "
                f"same length"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(self._network(encoder).init(key, signal, jnp.zeros(()), train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns prediction loss plus weighted other losses; see `ecgjax.objectives`.

        `batch` has "signal", int16 [pair, 2, time, lead], and "progress".
        """
        views = self._views(batch["signal"], key, preprocess)
        strength = 2 / (1 + jnp.exp(-10 * batch["progress"])) - 1
        (embedding, projected, predicted, logits), updates = self._network(encoder).apply(
            variables,
            views.reshape(-1, *views.shape[2:]),
            strength,
            train=True,
            mutable=["batch_stats"],
        )
        projected = projected.reshape(*views.shape[:2], -1)
        predicted = predicted.reshape(*views.shape[:2], -1)
        logits = logits.reshape(views.shape[:2])
        prediction = byol_loss(predicted, projected) / 2
        adversarial = discriminator_loss(logits)
        terms = spread_terms(projected[:, 0], projected[:, 1])
        metrics = {
            "positive_cosine": 1 - prediction / 2,
            "discriminator_accuracy": ((logits > 0) == NOISY[None]).mean(),
            "reversal": strength,
            **terms,
        }
        loss = prediction + self.adversarial * adversarial + self.spread.total(terms)
        if self.clean_statistics:
            updates = clean_statistics(
                encoder, variables, batch, preprocess=preprocess, updates=dict(updates)
            )
        return loss, (metrics | collapse_metrics(embedding), updates)

    def _views(self, signal: jax.Array, key: jax.Array, preprocess: Preprocessor) -> jax.Array:
        """[pair, 2, time, lead] -> a noisy and a denoised view [pair, 2, time', lead]."""
        noisy_key, clean_key = jax.random.split(key)
        first = preprocess(signal[:, 0])
        second = preprocess(signal[:, 1])
        second = band_pass(second, self.band_hz, rate_hz=preprocess.rate_hz)
        noisy = self.enhanced.views(first, noisy_key, rate_hz=preprocess.rate_hz)
        clean = self.denoised.views(second, clean_key, rate_hz=preprocess.rate_hz)
        return jnp.stack([noisy, clean], axis=1)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _AdversarialNetwork(encoder, self.projection, self.prediction, self.discriminator)


NOISY = np.array([True, False])
"""Labels of the discriminator: the first view of a pair has added noise."""


def discriminator_loss(logits: jax.Array) -> jax.Array:
    """Cross entropy of the discriminator; logits [pair, 2] are the log odds of added noise."""
    return optax.sigmoid_binary_cross_entropy(
        logits, jnp.broadcast_to(NOISY[None], logits.shape)
    ).mean()


def reverse_gradient(values: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns the same values; their gradient is multiplied by `-strength` (arXiv:1409.7495)."""
    return (1 + strength) * jax.lax.stop_gradient(values) - strength * values


class _AdversarialNetwork(nn.Module):
    """An encoder with projection head and predictor, and the discriminator of its embeddings."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]
    discriminator: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, strength: jax.Array, *, train: bool):
        """Encodes views [batch, time, lead].

        Returns:
          Embedding, projection and prediction, each [batch, dimension], and the discriminator's
          logits [batch, 1].
        """
        _, embedding = self.encoder(signal, train=train)
        projector = ProjectionHead(self.projection, batch_norm=True, name="projector")
        projected = projector(embedding, train=train)
        predictor = ProjectionHead(self.prediction, batch_norm=True, name="predictor")
        predicted = predictor(projected, train=train)
        discriminator = ProjectionHead((*self.discriminator, 1), name="discriminator")
        logits = discriminator(reverse_gradient(embedding, strength), train=train)
        return embedding, projected, predicted, logits
