"""Patient contrast: two recordings of one patient attract each other, everybody else's repel them.

The objective of Liu et al. 2025 (doi:10.1016/j.ijmedinf.2024.105742) and of PCLR (Diamant et al. 2022,
doi:10.1371/journal.pcbi.1009862): NT-Xent (SimCLR, arXiv:2002.05709) with temperature 0.1 over the global batch, where
the two views of a positive pair are recordings of one patient at different times. A patient with a single recording
gives two crops of it. Liu's text leaves encoder, batch and augmentation open; those here are PCLR's, with the views of
Mehari & Strodthoff 2022 (arXiv:2103.12676).

Small machines get more negatives from a queue of earlier batches, encoded by a slowly following copy of the network
(MoCo, arXiv:1911.05722) and kept with their patients (PMQ: https://github.com/3hiuwoo/PMQ, 16,384 long). Unlike there
the batch's own views are negatives as well, so a queue only ever adds to them.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.objectives.microbatches import in_microbatches
from ecgjax.objectives.nt_xent import NOBODY, nt_xent, unit_length
from ecgjax.preprocessing import Preprocessing, preprocess
from ecgjax.signals import InputError


@dataclasses.dataclass(frozen=True)
class PatientContrast:
    """Settings of patient-contrastive pre-training."""

    temperature: float = 0.1
    """Cosine similarities are divided by this."""
    projection: tuple[int, ...] = (256, 128)
    """Widths of the projection head's layers; the head is thrown away after pre-training."""
    augmentation: Augmentation = Augmentation()
    """What makes two views differ besides being two recordings."""
    queue: int = 0
    """Recordings of earlier batches that serve as negatives too; 0: none."""
    queue_momentum: float = 0.999
    """Share of itself that the queue's slow network keeps at each step."""
    microbatch: int = 0
    """Pairs that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

    examples = "patient_pair"

    def __post_init__(self):
        if self.temperature <= 0 or self.queue < 0 or not 0 <= self.queue_momentum < 1:
            raise InputError(
                f"temperature {self.temperature}, queue {self.queue}, momentum {self.queue_momentum}: give a "
                f"temperature above 0, a queue of 0 or more and a momentum from 0 to below 1"
            )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        variables = dict(self._network(encoder).init(key, signal, train=False))
        if self.queue:
            empty = jnp.zeros((self.queue, self.projection[-1])), jnp.full(self.queue, NOBODY)
            variables |= {"slow": {"params": variables["params"]}, "queue": dict(zip(QUEUE, empty, strict=True))}
        return variables

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
        network, slow = self._network(encoder), self._followed(variables)

        def encode(signal: jax.Array, key: jax.Array):
            """[pair, 2, time, lead] -> {"views": [pair, 2, dimension], "first": [pair, dimension] by `slow`}."""
            recordings = preprocess(signal.reshape(-1, *signal.shape[2:]), preprocessing, rate_hz=rate_hz)
            views = self.augmentation.views(recordings, key, rate_hz=preprocessing.rate_hz)
            project = {"train": True, "mutable": ["batch_stats"]}
            own = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
            projections, updates = network.apply(own, views, **project)
            embeddings = {"views": projections.reshape(*signal.shape[:2], -1)}
            if slow:
                first, _ = network.apply({**own, **slow}, views[::2], **project)
                embeddings["first"] = unit_length(first)
            return embeddings, updates

        embeddings, updates = in_microbatches(encode, batch["signal"], key, size=self.microbatch)
        queue = variables.get("queue")
        loss, hit_rate = nt_xent(
            embeddings["views"],
            batch["patient"],
            temperature=self.temperature,
            more=tuple(queue[name] for name in QUEUE) if queue else None,
        )
        if queue:
            new = dict(zip(QUEUE, (embeddings["first"], batch["patient"]), strict=True))
            newest = {name: jnp.concatenate([new[name], queue[name]])[: self.queue] for name in QUEUE}
            updates = {**updates, "slow": slow, "queue": newest}
        return loss, ({"pair_accuracy": hit_rate, **_geometry(embeddings["views"])}, updates)

    def _followed(self, variables: dict) -> dict | None:
        """The slow network after one more step towards the trained one."""
        if not self.queue:
            return None
        keep = self.queue_momentum
        moved = jax.tree.map(
            lambda slow, own: keep * slow + (1 - keep) * own, variables["slow"]["params"], variables["params"]
        )
        return {"params": jax.lax.stop_gradient(moved)}

    def _network(self, encoder: nn.Module) -> nn.Module:
        return _Projected(encoder=encoder, widths=self.projection)


QUEUE = ("embedding", "patient")
"""What the queue holds: unit vectors [queue, dimension], newest first, and their patients."""


def _geometry(projections: jax.Array) -> dict[str, jax.Array]:
    """Of [pair, 2, dimension]: how near partners are, and how far all spread: 1 evenly, 0 where a run has collapsed."""
    unit = unit_length(projections)
    return {
        "positive_cosine": (unit[:, 0] * unit[:, 1]).sum(-1).mean(),
        "embedding_spread": 1 - jnp.linalg.norm(unit.mean((0, 1))),
    }


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
