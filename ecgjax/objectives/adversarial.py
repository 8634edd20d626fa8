"""Adversarial views: a noisy view of a patient predicts a denoised one, and no one can tell which of them it is.

The objective of ASTCL (2024, IEEE TNNLS, doi:10.1109/TNNLS.2023.3272153) as far as its abstract tells: views are made
by adding noise and by removing it, the two recordings of a positive pair are one patient's, a predictor and a stopped
gradient take turns instead of negatives, and in a game against a discriminator the encoder pulls both kinds of views
into one distribution. What the abstract leaves open is that of the closest published relatives: predictor and
stop-gradient both ways are SimSiam's (arXiv:2011.10566; heads narrower, for a narrower embedding), the game is gradient
reversal with its ramp (Ganin & Lempitsky, arXiv:1409.7495), denoising keeps ST-MEM's band of 0.67 to 40 Hz
(arXiv:2402.09450). Views are of different stretches of time and leave out different leads, so that the predictor has to
predict across both; a spatiotemporal module beyond that is not described there.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.byol import bootstrap
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.projection_head import ProjectionHead, check_same_end, check_widths
from ecgjax.preprocessing import Preprocessor, band_pass


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """Settings of adversarial pre-training."""

    adversarial: float = 0.1
    """Weight of the game against the discriminator; that of the prediction is 1. With 1.0 the discriminator swings
    between always and never right and the encoder learns nothing, without the game it learns little (PTB-XL, 1,100
    steps, superclass with 1,000 labels on fold 9: -0.04, +0.00 against random weights; with 0.1 +0.02)."""
    projection: tuple[int, ...] = (512, 512, 128)
    """Widths of the projection head's layers; all heads are thrown away after pre-training."""
    prediction: tuple[int, ...] = (64, 128)
    """Widths of the predictor's layers: a bottleneck, and the projection's last."""
    discriminator: tuple[int, ...] = (128,)
    """Widths of the discriminator's hidden layers."""
    enhanced: Augmentation = Augmentation(gain=0.0, noise_mv=0.1, wander_mv=0.5, time_out=0.0)
    """Views with added noise: muscle (white) and baseline wander."""
    denoised: Augmentation = Augmentation(gain=0.0, noise_mv=0.0, wander_mv=0.0, time_out=0.0)
    """Views of recordings whose noise has been removed."""
    band_hz: tuple[float, float] = (0.67, 40.0)
    """What is not noise, in Hz."""

    examples = "patient_pair"

    def __post_init__(self):
        check_same_end(self.projection, self.prediction)
        check_widths(none=True, discriminator=self.discriminator)
        if not (self.adversarial >= 0 and 0 < self.band_hz[0] < self.band_hz[1]):
            raise InputError(
                f"adversarial {self.adversarial}, band_hz {self.band_hz}: give a weight of 0 or more and two "
                f"frequencies, the lower one first"
            )
        if self.enhanced.crop_s != self.denoised.crop_s:
            raise InputError(
                f"crop_s {self.enhanced.crop_s} and {self.denoised.crop_s}: give both views one length"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
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
        """Error of the predictions, and of the discriminator.

        Of batch: signal int16 [pair, 2, time, lead]; progress, the share of the run that is done.
        """
        views = self._views(batch["signal"], key, preprocess)
        strength = 2 / (1 + jnp.exp(-10 * batch["progress"])) - 1
        (embedding, projected, predicted, verdict), updates = self._network(encoder).apply(
            variables,
            views.reshape(-1, *views.shape[2:]),
            strength,
            train=True,
            mutable=["batch_stats"],
        )
        projected, predicted = (
            part.reshape(*views.shape[:2], -1) for part in (projected, predicted)
        )
        verdict = verdict.reshape(views.shape[:2])
        prediction, game = bootstrap(predicted, projected) / 2, discrimination_error(verdict)
        metrics = {
            "positive_cosine": 1 - prediction / 2,
            "discriminator_accuracy": ((verdict > 0) == NOISY[None]).mean(),
            "reversal": strength,
        }
        return prediction + self.adversarial * game, (
            metrics | collapse_metrics(embedding),
            updates,
        )

    def _views(self, signal: jax.Array, key: jax.Array, preprocess: Preprocessor) -> jax.Array:
        """[pair, 2, time, lead] -> [pair, 2, ...], noisy views of the first recordings, denoised ones of the second."""
        noisy_key, clean_key = jax.random.split(key)
        first, second = (preprocess(signal[:, number]) for number in (0, 1))
        second = band_pass(second, self.band_hz, rate_hz=preprocess.rate_hz)
        noisy = self.enhanced.views(first, noisy_key, rate_hz=preprocess.rate_hz)
        clean = self.denoised.views(second, clean_key, rate_hz=preprocess.rate_hz)
        return jnp.stack([noisy, clean], axis=1)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Contestants(encoder, self.projection, self.prediction, self.discriminator)


NOISY = np.array([True, False])
"""Which of a pair's views has added noise."""


def discrimination_error(verdict: jax.Array) -> jax.Array:
    """Cross entropy of the discriminator, whose verdict [pair, 2] is the log odds that a view has added noise."""
    return optax.sigmoid_binary_cross_entropy(
        verdict, jnp.broadcast_to(NOISY[None], verdict.shape)
    ).mean()


def reversed_gradient(values: jax.Array, strength: jax.Array) -> jax.Array:
    """The same values; the gradient turns round on its way back, times `strength` (arXiv:1409.7495)."""
    return (1 + strength) * jax.lax.stop_gradient(values) - strength * values


class _Contestants(nn.Module):
    """An encoder with projection head and predictor, and the discriminator that it plays against."""

    encoder: nn.Module
    projection: tuple[int, ...]
    prediction: tuple[int, ...]
    discriminator: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, strength: jax.Array, *, train: bool):
        """[batch, time, lead] -> embedding, projection, prediction [batch, dimension], and verdict [batch, 1]."""
        _, embedding = self.encoder(signal, train=train)
        projected = ProjectionHead(self.projection, batch_norm=True, name="projector")(
            embedding, train=train
        )
        predicted = ProjectionHead(self.prediction, batch_norm=True, name="predictor")(
            projected, train=train
        )
        judge = ProjectionHead((*self.discriminator, 1), name="discriminator")
        return (
            embedding,
            projected,
            predicted,
            judge(reversed_gradient(embedding, strength), train=train),
        )
