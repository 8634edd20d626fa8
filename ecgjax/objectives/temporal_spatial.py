"""Temporal and spatial self-supervision: a lead is the same person's a moment later, and leads relate as their signals.

The objective of TSSL (2025, Scientific Reports, "Temporal and spatial self supervised learning methods for
electrocardiograms"). Its losses were not found beyond this idea: over time a lead's representation keeps the identity
of the recording and is told from those of other leads and people; across leads representations relate to each other as
the signals do. Each task takes the form of its closest published relative. Temporal: contrast of the two adjacent
segments of a recording (CMSC of CLOCS, Kiyasseh et al. 2021, arXiv:2005.13249, temperature 0.1), lead by lead, with all
other leads and patients as negatives. Spatial: the matrix of cosines between representations of leads is to equal the
matrix of correlations between their signals (similarity-preserving distillation, Tung & Mori 2019, arXiv:1907.09682,
with the signal as the teacher).

Other encoders than lead_branches are shown one lead at a time, `leads` of each recording.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.errors import InputError
from ecgjax.objectives.parts.lead_views import draw_leads, lead_embeddings
from ecgjax.objectives.parts.masking import seen_whole
from ecgjax.objectives.parts.nt_xent import nt_xent, unit_length
from ecgjax.objectives.parts.projection_head import ProjectionHead, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class TemporalSpatial:
    """Settings of temporal and spatial pre-training."""

    temperature: float = 0.1
    """Cosine similarities of the temporal task are divided by this."""
    spatial: float = 1.0
    """Weight of the spatial task; that of the temporal one is 1."""
    projection: tuple[int, ...] = (256, 128)
    """Widths of the projection head's layers; the head is thrown away after pre-training."""
    leads: int = 3
    """Leads of a recording that are compared, for encoders without embeddings of single leads."""

    examples = "single"

    def __post_init__(self):
        check_widths(projection=self.projection)
        if not (self.temperature > 0 and self.spatial >= 0 and self.leads >= 2):
            raise InputError(
                f"temperature {self.temperature}, spatial {self.spatial}, leads {self.leads}: give a temperature "
                f"above 0, a weight of 0 or more and at least 2 leads"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        leads = draw_leads(encoder, key, signal, self.leads)
        return dict(_Projecting(encoder, self.projection).init(key, signal, leads, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Losses of the two tasks.

        Of batch: signal int16 [recording, time, lead]; patient int32 [recording].
        """
        signal = preprocess(batch["signal"])
        leads = draw_leads(encoder, key, signal, self.leads)
        half = signal.shape[1] // 2
        segments = jnp.stack([signal[:, :half], signal[:, half : 2 * half]], axis=1).reshape(
            -1, half, signal.shape[2]
        )
        twice = jnp.repeat(leads, 2, axis=0)
        projected, _ = _Projecting(encoder, self.projection).apply(
            variables, segments, twice, train=True, mutable=["batch_stats"]
        )
        by_lead = projected.reshape(len(signal), 2, *projected.shape[1:]).swapaxes(1, 2)
        # The same lead of a patient's other recording is neither positive nor negative.
        owner = batch["patient"][:, None] * signal.shape[2] + leads
        temporal, hit_rate = nt_xent(
            by_lead.reshape(-1, *by_lead.shape[2:]), owner.reshape(-1), temperature=self.temperature
        )
        spatial = relation_error(projected, jnp.take_along_axis(segments, twice[:, None], axis=2))
        metrics, updates = seen_whole(encoder, variables, signal)
        metrics |= {"temporal": temporal, "spatial": spatial, "pair_accuracy": hit_rate}
        return temporal + self.spatial * spatial, (metrics, updates)


def relation_error(projected: jax.Array, signal: jax.Array) -> jax.Array:
    """Mean squared difference of leads' cosines and their signals' correlations, over all pairs of different leads.

    Args:
      projected: [segment, lead, dimension].
      signal: [segment, time, lead]. A flat lead is correlated with none.
    """
    unit = unit_length(projected)
    centred = unit_length((signal - signal.mean(1, keepdims=True)).swapaxes(1, 2))
    cosine, correlation = (
        jnp.einsum("bld,bmd->blm", part, part, precision="highest") for part in (unit, centred)
    )
    leads = projected.shape[1]
    difference = jnp.where(jnp.eye(leads, dtype=bool)[None], 0.0, jnp.square(cosine - correlation))
    return difference.sum((1, 2)).mean() / (leads * (leads - 1))


class _Projecting(nn.Module):
    """An encoder, and the projection head on its embeddings of single leads."""

    encoder: nn.Module
    projection: tuple[int, ...]

    @nn.compact
    def __call__(self, signal: jax.Array, leads: jax.Array, *, train: bool) -> jax.Array:
        """[batch, time, lead] and int [batch, count] -> projections [batch, count, dimension]."""
        embeddings = lead_embeddings(self.encoder, signal, leads, train=train)
        return ProjectionHead(self.projection, name="projector")(embeddings, train=train)
