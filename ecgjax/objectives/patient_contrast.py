"""Patient contrast: two recordings of one patient attract each other, everybody else's repel them.

The objective of Liu et al. 2025 (doi:10.1016/j.ijmedinf.2024.105742) and of PCLR (Diamant et al. 2022,
doi:10.1371/journal.pcbi.1009862): NT-Xent (SimCLR, arXiv:2002.05709) with temperature 0.1 over the global batch, where
the two views of a positive pair are recordings of one patient at different times. A patient with a single recording
gives two crops of it. Liu's text leaves encoder, batch and augmentation open; those here are PCLR's, with the views of
Mehari & Strodthoff 2022 (arXiv:2103.12676).
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.signals import Preprocessing, preprocess


@dataclasses.dataclass(frozen=True)
class PatientContrast:
    """Settings of patient-contrastive pre-training."""

    temperature: float = 0.1
    """Cosine similarities are divided by this."""
    projection: tuple[int, ...] = (256, 128)
    """Widths of the projection head's layers; the head is thrown away after pre-training."""
    augmentation: Augmentation = Augmentation()
    """What makes two views differ besides being two recordings."""

    examples = "patient_pair"

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
        preprocessing: Preprocessing,
        rate_hz: float,
    ):
        """NT-Xent of a batch of pairs.

        Args:
          encoder: the encoder to train.
          variables: as made by `init`.
          batch: signal int16 [pair, 2, time, lead] at `rate_hz`; patient int32 [pair].
          key: draws the views.
          preprocessing: the encoder's input.
          rate_hz: sampling rate of the batch, in Hz.

        Returns:
          loss, (metrics, updates).
        """
        pairs = batch["signal"].shape[0]
        recordings = jnp.concatenate([batch["signal"][:, 0], batch["signal"][:, 1]])
        signals = preprocess(recordings, preprocessing, rate_hz=rate_hz)
        views = self.augmentation.views(signals, key, rate_hz=preprocessing.rate_hz)
        projections, updates = self._network(encoder).apply(variables, views, train=True, mutable=["batch_stats"])
        loss, hit_rate = nt_xent(projections, batch["patient"], temperature=self.temperature)
        unit = unit_length(projections)
        positive_cosine = (unit[:pairs] * unit[pairs:]).sum(-1).mean()
        # 1 for unit vectors spread evenly, 0 when all views have one embedding: a collapsed run shows here.
        spread = 1 - jnp.linalg.norm(unit.mean(0))
        metrics = {"pair_accuracy": hit_rate, "positive_cosine": positive_cosine, "embedding_spread": spread}
        return loss, (metrics, updates)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Projected(encoder=encoder, widths=self.projection)


class _Projected(nn.Module):
    """An encoder and the projection head on its embedding."""

    encoder: nn.Module
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, *, train: bool) -> jax.Array:
        _, hidden = self.encoder(signal, train=train)
        for number, width in enumerate(self.widths, start=1):
            hidden = nn.relu(hidden) if number > 1 else hidden
            hidden = nn.Dense(width, name=f"projector{number}")(hidden)
        return hidden.astype(jnp.float32)


def nt_xent(projections: jax.Array, patients: jax.Array, *, temperature: float) -> tuple[jax.Array, jax.Array]:
    """Normalised temperature-scaled cross entropy (arXiv:2002.05709, eq. 1) that never repels a patient from herself.

    Args:
      projections: [2 * pair, dimension]; rows i and i + pair are the two views of pair i. Scaled to unit length here.
      patients: int [pair]. Views of the same patient in another pair are left out of the denominator.
      temperature: divides the cosine similarities.

    Returns:
      The mean loss over the 2 * pair views, and the share of views whose nearest neighbour is its partner.
    """
    count = projections.shape[0]
    unit = unit_length(projections)
    logits = unit @ unit.T / temperature
    row = jnp.arange(count)
    partner = (row + count // 2) % count
    owner = jnp.concatenate([patients, patients])
    excluded = (owner[:, None] == owner[None, :]) & (row[None, :] != partner[:, None])
    logits = jnp.where(excluded, -jnp.inf, logits)
    positive = jnp.take_along_axis(logits, partner[:, None], axis=1)[:, 0]
    loss = (jax.nn.logsumexp(logits, axis=1) - positive).mean()
    return loss, (logits.argmax(1) == partner).mean()


def unit_length(vectors: jax.Array) -> jax.Array:
    """Vectors [..., dimension] scaled to length 1; the small constant keeps the gradient of a zero vector finite."""
    return vectors * jax.lax.rsqrt(jnp.square(vectors).sum(-1, keepdims=True) + 1e-12)
