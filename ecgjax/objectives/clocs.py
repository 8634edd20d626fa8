"""CLOCS: pieces of one patient's recordings attract each other, across time (CMSC), leads (CMLC) or both (CMSMLC).

Kiyasseh et al. 2021 (arXiv:2005.13249, code at danikiyasseh/CLOCS): views of a batch are compared two kinds at a time,
as rows and columns of a matrix of cosines over a temperature of 0.1. Positives are the diagonal (the same recording)
and every other entry of the same patient; there is no projection head. As there, the two are averaged apart, so that
the few other recordings of a patient weigh as much as the diagonal; unlike there, both are taken along rows and along
columns, and no pair of views overwrites another's loss.

There, an encoder sees one lead. Ours sees all of them, so that its checkpoints mean what others' do: a view of one lead
is a recording whose other leads are silent. In the halves of CMSC leads are silenced by chance, unlike there.
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
from ecgjax.objectives.parts.masking import seen_whole
from ecgjax.objectives.parts.microbatches import in_microbatches
from ecgjax.objectives.parts.nt_xent import unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Clocs:
    """Settings of CLOCS."""

    kind: Literal["cmsc", "cmlc", "cmsmlc"] = "cmsc"
    """Views of a recording: its two halves, its leads one by one, or its leads one by one in each half."""
    view_leads: tuple[str, ...] = ("II", "V2", "aVL", "aVR")
    """Leads that are views of their own in cmlc and cmsmlc (those of the paper)."""
    lead_mask: float = 0.5
    """Probability that a lead of a half is silenced in cmsc (random lead masking, Oh et al. 2022, arXiv:2203.06889);
    the views of the other kinds have one lead anyway. 0: the paper's views, by which an encoder of all leads finds each
    half's other half within minutes and learns less than random weights know (PTB-XL, 1,100 steps, mean over seven
    tasks with 1,000 labels: -0.013)."""
    temperature: float = 0.1
    """Cosine similarities are divided by this."""
    projection: tuple[int, ...] = ()
    """Widths of a projection head's layers; none: embeddings themselves are compared."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

    examples = "single"

    def __post_init__(self):
        if not self.temperature > 0:  # nor not-a-number
            raise InputError(f"temperature {self.temperature}: give one above 0")
        check_widths(none=True, projection=self.projection)
        if not 0 <= self.lead_mask < 1:
            raise InputError(f"lead_mask {self.lead_mask}: give a probability from 0 to below 1")
        if self.kind != "cmsc" and len(set(self.view_leads)) < max(2, len(self.view_leads)):
            raise InputError(
                f"view-leads {' '.join(self.view_leads)}: {self.kind} needs two leads or more, none twice"
            )

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
        """Of batch["signal"], int16 [recording, time, lead], and batch["patient"], int32 [recording]."""

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> {"embedding": [row, dimension], "views": [recording, view, width]}."""
            views = self.views(preprocess(signal), preprocess.preprocessing.leads)
            if self._masks:
                shape = (*views.shape[:2], 1, views.shape[3])
                views *= jax.random.bernoulli(key, 1 - self.lead_mask, shape)
            (embedding, projections), updates = self._network(encoder).apply(
                variables, views.reshape(-1, *views.shape[2:]), train=True, mutable=["batch_stats"]
            )
            return {
                "embedding": embedding,
                "views": projections.reshape(*views.shape[:2], -1),
            }, updates

        found, updates = in_microbatches(encode, batch["signal"], key, size=self.microbatch)
        loss, hit_rate = patient_contrast_of_views(
            found["views"], batch["patient"], temperature=self.temperature
        )
        metrics = collapse_metrics(found["embedding"])
        if (
            self.kind != "cmsc" or self._masks
        ):  # views lack leads; the encoder is for whole recordings
            whole = preprocess(first_rows(batch["signal"]))
            metrics, seen = seen_whole(encoder, variables, whole)
            updates = {name: {**tree, **seen.get(name, {})} for name, tree in updates.items()}
        return loss, ({"pair_accuracy": hit_rate} | metrics, updates)

    def views(self, recordings: jax.Array, leads: tuple[str, ...]) -> jax.Array:
        """[recording, time, lead] -> [recording, view, time', lead]: time' is half the time but in cmlc."""
        views = [recordings]
        if self.kind != "cmlc":
            half = recordings.shape[1] // 2
            views = [recordings[:, :half], recordings[:, half : 2 * half]]
        if self.kind != "cmsc":
            if absent := sorted(set(self.view_leads) - set(leads)):
                raise InputError(
                    f"view-leads {' '.join(absent)}: not among the encoder's leads, {' '.join(leads)}"
                )
            alone = np.eye(len(leads), dtype=np.float32)[
                [leads.index(lead) for lead in self.view_leads]
            ]
            views = [view * mask[None, None] for view in views for mask in alone]
        return jnp.stack(views, axis=1)

    @property
    def _masks(self) -> bool:
        return self.kind == "cmsc" and self.lead_mask > 0

    def _network(self, encoder: nn.Module) -> nn.Module:
        return ProjectedEncoder(encoder=encoder, widths=self.projection)


def patient_contrast_of_views(
    views: jax.Array, patients: jax.Array, *, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """The loss of CLOCS for every two views, their mean.

    Args:
      views: [recording, view, width]; scaled to unit length here, a silent one without harm.
      patients: int [recording].
      temperature: divides the cosine similarities.

    Returns:
      The loss, and the share of views that are nearest to their own recording's other view.
    """
    unit, count = unit_length(views).swapaxes(0, 1), len(views)
    first, second = np.array(list(itertools.combinations(range(len(unit)), 2))).T
    own = jnp.eye(count, dtype=bool)
    same = (patients[:, None] == patients[None, :]) & ~own
    several = same.any()

    def of_two(one: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = jnp.matmul(one, other.T, precision="highest") / temperature
        log_shares = jnp.stack([jax.nn.log_softmax(logits, axis) for axis in (1, 0)])
        diagonal = -jnp.where(own[None], log_shares, 0).sum() / (2 * count)
        others = -jnp.where(same[None], log_shares, 0).sum() / jnp.maximum(2 * same.sum(), 1)
        loss = jnp.where(several, (diagonal + others) / 2, diagonal)
        return loss, (logits.argmax(1) == jnp.arange(count)).mean()

    losses, hit_rates = jax.vmap(of_two)(unit[first], unit[second])
    return losses.mean(), hit_rates.mean()
