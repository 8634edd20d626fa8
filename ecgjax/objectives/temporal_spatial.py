"""Temporal and spatial self-supervision of single leads.

Temporal task: match each lead with itself in the next segment. Spatial task: make the similarities
of lead embeddings equal the correlations of the leads' signals. This is the objective of TSSL
(2025, Scientific Reports, "Temporal and spatial self supervised learning methods for
electrocardiograms"). Its loss functions were not found, so each task has the form of its closest
published relative.

Temporal: contrast of the two adjacent segments of a recording (CMSC of CLOCS, Kiyasseh et al. 2021,
arXiv:2005.13249, temperature 0.1), lead by lead, with all other leads and patients as negatives.
Spatial: the matrix of cosine similarities between leads should equal the correlation matrix of
their signals (similarity-preserving distillation, Tung & Mori 2019, arXiv:1907.09682, with the
signal as the teacher).

lead_branches embeds all leads at once. Other encoders get one lead at a time, `leads` per
recording.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings
from ecgjax.objectives.parts.masking import encode_unmasked
from ecgjax.objectives.parts.nt_xent import nt_xent, unit_length
from ecgjax.objectives.parts.projection_head import ProjectionHead, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class TemporalSpatial:
    """Settings of temporal and spatial pre-training."""

    temperature: float = 0.1
    """Temperature of the temporal task; it divides the cosine similarities."""
    spatial: float = 1.0
    """Weight of the spatial task; the temporal task has weight 1."""
    projection: tuple[int, ...] = (256, 128)
    """Widths of the projection head's layers; the head is discarded after pre-training."""
    leads: int = 3
    """Leads that are compared per recording, for encoders without embeddings of single leads."""

    examples = "single"

    def __post_init__(self):
        check_widths(projection=self.projection)
        if not (self.temperature > 0 and self.spatial >= 0 and self.leads >= 2):
            raise InputError(
                f"temperature {self.temperature}, spatial {self.spatial}, leads {self.leads}: give "
                f"a temperature above 0, a weight of 0 or more and at least 2 leads"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        leads = draw_leads(encoder, key, signal, self.leads)
        network = _LeadProjectionNetwork(encoder, self.projection)
        return dict(network.init(key, signal, leads, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the sum of the temporal and the weighted spatial loss; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], and "patient", int32 [recording].
        """
        signal = preprocess(batch["signal"])
        leads = draw_leads(encoder, key, signal, self.leads)
        half = signal.shape[1] // 2
        segments = jnp.stack([signal[:, :half], signal[:, half : 2 * half]], axis=1).reshape(
            -1, half, signal.shape[2]
        )
        segment_leads = jnp.repeat(leads, 2, axis=0)
        projected, _ = _LeadProjectionNetwork(encoder, self.projection).apply(
            variables, segments, segment_leads, train=True, mutable=["batch_stats"]
        )
        by_lead = projected.reshape(len(signal), 2, *projected.shape[1:]).swapaxes(1, 2)
        # Owners are leads of patients: the same lead in another recording of the patient is neither
        # positive nor negative.
        owner = batch["patient"][:, None] * signal.shape[2] + leads
        temporal, hit_rate = nt_xent(
            by_lead.reshape(-1, *by_lead.shape[2:]), owner.reshape(-1), temperature=self.temperature
        )
        lead_signals = jnp.take_along_axis(segments, segment_leads[:, None], axis=2)
        spatial = spatial_loss(projected, lead_signals)
        metrics, updates = encode_unmasked(encoder, variables, signal)
        metrics |= {"temporal": temporal, "spatial": spatial, "pair_accuracy": hit_rate}
        return temporal + self.spatial * spatial, (metrics, updates)


def spatial_loss(projected: jax.Array, signal: jax.Array) -> jax.Array:
    """Mean squared difference of cosine similarity and signal correlation over all pairs of leads.

    Args:
      projected: [segment, lead, dimension].
      signal: [segment, time, lead]. A flat lead has correlation 0 with every other lead.
    """
    unit = unit_length(projected)
    centred = unit_length((signal - signal.mean(1, keepdims=True)).swapaxes(1, 2))
    cosine = jnp.einsum("bld,bmd->blm", unit, unit, precision="highest")
    correlation = jnp.einsum("bld,bmd->blm", centred, centred, precision="highest")
    leads = projected.shape[1]
    difference = jnp.where(jnp.eye(leads, dtype=bool)[None], 0.0, jnp.square(cosine - correlation))
    return difference.sum((1, 2)).mean() / (leads * (leads - 1))


class _LeadProjectionNetwork(nn.Module):
    """An encoder, and the projection head on its embeddings of single leads."""

    encoder: nn.Module
    projection: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, leads: jax.Array, *, train: bool) -> jax.Array:
        """Projects leads, int [batch, count], of a signal [batch, time, lead].

        Returns:
          [batch, count, dimension].
        """
        embeddings = lead_embeddings(self.encoder, signal, leads, train=train)
        return ProjectionHead(self.projection, name="projector")(embeddings, train=train)
