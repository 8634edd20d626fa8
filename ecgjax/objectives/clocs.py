"""CLOCS: views of one patient attract each other across time (CMSC), leads (CMLC) or both (CMSMLC).

Kiyasseh et al. 2021 (arXiv:2005.13249, code at danikiyasseh/CLOCS): the views of a batch are
compared two kinds at a time, as rows and columns of a matrix of cosine similarities with
temperature 0.1. The positives are the diagonal (the same recording) and all other entries of the
same patient. There is no projection head. As in that code the two groups are averaged separately,
so the few other recordings of a patient weigh as much as the diagonal. Unlike in that code, both
are computed along rows and along columns, and no pair of views overwrites the loss of another.

In the paper an encoder sees one lead. Here it sees all leads, so that a checkpoint means the same
as with other methods: a view of one lead is a recording whose other leads are 0. The halves in CMSC
have randomly masked leads, unlike in the paper.
"""

import dataclasses
import itertools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics, first_rows
from ecgjax.objectives.parts.masking import encode_unmasked
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Clocs:
    """Settings of CLOCS."""

    kind: Literal["cmsc", "cmlc", "cmsmlc"] = "cmsc"
    """Views of a recording: its two halves (cmsc), single leads (cmlc), or single leads of each
    half (cmsmlc)."""
    view_leads: tuple[str, ...] = ("II", "V2", "aVL", "aVR")
    """Leads that are views of their own in cmlc and cmsmlc; the default is the paper's."""
    lead_mask: float = 0.5
    """Probability that a lead of a half is masked in cmsc (random lead masking, Oh et al. 2022,
    arXiv:2203.06889); the views of the other kinds have one lead anyway. With 0, the views of the
    paper, an encoder of all leads matches the two halves within minutes and is then worse than
    random weights (PTB-XL, 1,100 steps, mean AUROC over seven tasks with 1,000 labels: -0.013)."""
    temperature: float = 0.1
    """Temperature of the contrast; it divides the cosine similarities."""
    projection: tuple[int, ...] = ()
    """Widths of a projection head's layers; none: the embeddings themselves are compared."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        if not self.temperature > 0:  # refuses not-a-number too
            raise InputError(f"temperature {self.temperature}: give one above 0")
        check_widths(allow_empty=True, projection=self.projection)
        if not 0 <= self.lead_mask < 1:
            raise InputError(f"lead_mask {self.lead_mask}: give a probability from 0 to below 1")
        if self.kind != "cmsc" and len(set(self.view_leads)) < max(2, len(self.view_leads)):
            raise InputError(
                f"view-leads {' '.join(self.view_leads)}: {self.kind} needs two leads or more, "
                f"none twice"
            )

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
        """Returns the loss of CLOCS; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead], and "patient", int32 [recording].
        """

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> embeddings by name, and updates of batch statistics."""
            views = self.views(preprocess(signal), preprocess.preprocessing.leads)
            if self._masks_leads:
                shape = (*views.shape[:2], 1, views.shape[3])
                views *= jax.random.bernoulli(key, 1 - self.lead_mask, shape)
            (embedding, projections), updates = self._network(encoder).apply(
                variables, views.reshape(-1, *views.shape[2:]), train=True, mutable=["batch_stats"]
            )
            encoded = {
                "embedding": embedding,
                "views": projections.reshape(*views.shape[:2], -1),
            }
            return encoded, updates

        encoded, updates = encode_in_microbatches(
            encode, batch["signal"], key, size=self.microbatch
        )
        loss, hit_rate = clocs_loss(
            encoded["views"], batch["patient"], temperature=self.temperature
        )
        metrics = collapse_metrics(encoded["embedding"])
        if self.kind != "cmsc" or self._masks_leads:  # leads are masked in the views
            recordings = preprocess(first_rows(batch["signal"]))
            metrics, unmasked = encode_unmasked(encoder, variables, recordings)
            updates = {name: {**tree, **unmasked.get(name, {})} for name, tree in updates.items()}
        return loss, ({"pair_accuracy": hit_rate} | metrics, updates)

    def views(self, recordings: jax.Array, leads: tuple[str, ...]) -> jax.Array:
        """Makes the views of recordings.

        Args:
          recordings: [recording, time, lead].
          leads: names of the leads.

        Returns:
          [recording, view, time', lead]; time' is the whole time in cmlc, otherwise half of it.

        Raises:
          InputError: the recordings lack one of `view_leads`.
        """
        views = [recordings]
        if self.kind != "cmlc":
            half = recordings.shape[1] // 2
            views = [recordings[:, :half], recordings[:, half : 2 * half]]
        if self.kind != "cmsc":
            if absent := sorted(set(self.view_leads) - set(leads)):
                raise InputError(
                    f"view-leads {' '.join(absent)}: not among the encoder's leads, "
                    f"{' '.join(leads)}"
                )
            columns = [leads.index(lead) for lead in self.view_leads]
            lead_masks = np.eye(len(leads), dtype=np.float32)[columns]
            views = [view * mask[None, None] for view in views for mask in lead_masks]
        return jnp.stack(views, axis=1)

    @property
    def _masks_leads(self) -> bool:
        return self.kind == "cmsc" and self.lead_mask > 0

    def _network(self, encoder: nn.Module) -> nn.Module:
        return ProjectedEncoder(encoder=encoder, widths=self.projection)


def clocs_loss(
    views: jax.Array, patients: jax.Array, *, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """Returns the loss of CLOCS, averaged over all pairs of views.

    Args:
      views: [recording, view, width]; scaled to unit length here. The gradient of a view that is
        all 0 is finite.
      patients: int [recording].
      temperature: divides the cosine similarities.

    Returns:
      The loss, and the share of views whose nearest neighbour is a view of their own recording.
    """
    unit = unit_length(views).swapaxes(0, 1)
    count = len(views)
    first, second = np.array(list(itertools.combinations(range(len(unit)), 2))).T
    own = jnp.eye(count, dtype=bool)
    same_patient = (patients[:, None] == patients[None, :]) & ~own
    any_patient_repeats = same_patient.any()

    def pair_loss(rows: jax.Array, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jnp.matmul(rows, columns.T, precision="highest") / temperature
        log_shares = jnp.stack([jax.nn.log_softmax(logits, axis) for axis in (1, 0)])
        diagonal = -jnp.where(own[None], log_shares, 0).sum() / (2 * count)
        entries = jnp.maximum(2 * same_patient.sum(), 1)
        others = -jnp.where(same_patient[None], log_shares, 0).sum() / entries
        loss = jnp.where(any_patient_repeats, (diagonal + others) / 2, diagonal)
        return loss, (logits.argmax(1) == jnp.arange(count)).mean()

    losses, hit_rates = jax.vmap(pair_loss)(unit[first], unit[second])
    return losses.mean(), hit_rates.mean()
