"""Patient contrast: two recordings of one patient attract each other and repel all other patients.

This is the objective of Liu et al. 2025 (doi:10.1016/j.ijmedinf.2024.105742) and of PCLR (Diamant
et al. 2022, doi:10.1371/journal.pcbi.1009862): NT-Xent (SimCLR, arXiv:2002.05709) with temperature
0.1 over the global batch. The two views of a positive pair are recordings of one patient at
different times; a patient with one recording gives two crops of it. Liu et al. leave encoder, batch
size, head and augmentation open. The defaults here are this package's own, chosen for small
machines; the presets liu_2025 and pclr_2022 use PCLR's.

A queue of earlier batches adds negatives on small machines. An EMA of the network encodes its
entries (MoCo, arXiv:1911.05722), and the queue holds their patients too (PMQ:
https://github.com/3hiuwoo/PMQ, 16,384 entries). In PMQ the negatives come from the queue alone;
here the other views of the batch are negatives as well, so a queue only adds to them.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import Augmentation
from ecgjax.data.pairs import PairRule
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.ema import ema_update
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.objectives.parts.nt_xent import NO_PATIENT, nt_xent, unit_length
from ecgjax.objectives.parts.projection_head import (
    ProjectedEncoder,
    check_widths,
    embedding_parts,
)
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class PatientContrast:
    """Settings of patient-contrastive pre-training."""

    temperature: float = 0.1
    """Temperature of NT-Xent; it divides the cosine similarities."""
    projection: tuple[int, ...] = (256, 128)
    """Widths of the projection head's layers; the head is discarded after pre-training."""
    augmentation: Augmentation = Augmentation()
    """Augmentation of each view, in addition to the two being different recordings."""
    queue: int = 0
    """Length of the queue of negatives, in recordings of earlier batches; 0: no queue."""
    queue_momentum: float = 0.999
    """EMA decay of the network that encodes the queue's entries."""
    instance_share: float = 0.0
    """Share of the pairs that are two views of one recording. A rhythm such as atrial fibrillation
    may be present at one visit and absent at the next, and pairs of different visits alone teach
    the encoder to ignore it."""
    min_days: float = 0.0
    """Smallest time between the recordings of a pair, in days. A recording without a partner that
    is far enough away is its own partner; one without a date matches at any distance."""
    max_days: float = 0.0
    """Largest time between the recordings of a pair, in days, likewise; 0: no limit."""
    microbatch: int = 0
    """Pairs that are encoded at a time, to save memory; they share batch statistics. 0: the whole
    batch."""

    def __post_init__(self):
        check_widths(projection=self.projection)
        _ = self.examples  # checks the rule for pairs
        if not (self.temperature > 0 and self.queue >= 0 and 0 <= self.queue_momentum < 1):
            raise InputError(
                f"temperature {self.temperature}, queue {self.queue}, queue_momentum "
                f"{self.queue_momentum}: give a temperature above 0, a queue of 0 or more and a "
                f"momentum from 0 to below 1"
            )

    @property
    def examples(self) -> PairRule:
        """The rule that pairs two recordings."""
        return PairRule(
            instance_share=self.instance_share, min_days=self.min_days, max_days=self.max_days
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        variables = dict(self.network(encoder).init(key, signal, train=False))
        if self.queue:
            parts = len(embedding_parts(encoder)) or 1
            variables["slow"] = {"params": variables["params"]}
            variables["queue"] = {
                "embedding": jnp.zeros((self.queue, parts * self.projection[-1])),
                "patient": jnp.full(self.queue, NO_PATIENT),
            }
        return variables

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the NT-Xent loss of a batch of pairs; see `ecgjax.objectives`.

        `batch` has "signal", int16 [pair, 2, time, lead], and "patient", int32 [pair].
        """
        network = self.network(encoder)
        average = None
        if self.queue:
            average = {
                "params": ema_update(
                    variables["slow"]["params"], variables["params"], self.queue_momentum
                )
            }

        def encode(signal: jax.Array, key: jax.Array):
            """[pair, 2, time, lead] -> embeddings by name, and updates of batch statistics."""
            recordings = preprocess(signal.reshape(-1, *signal.shape[2:]))
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)
            options = {"train": True, "mutable": ["batch_stats"]}
            own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
            (embedding, projections), updates = network.apply(own, views, **options)
            encoded = {
                "embedding": embedding[::2],
                "views": projections.reshape(*signal.shape[:2], -1),
            }
            if average:
                (_, queued), _ = network.apply({**own, **average}, views[::2], **options)
                encoded["queued"] = self._unit_parts(queued).reshape(queued.shape)
            return encoded, updates

        encoded, updates = encode_in_microbatches(
            encode, batch["signal"], key, size=self.microbatch
        )
        queue = variables.get("queue")
        loss, hit_rate = self._contrast(encoded["views"], batch["patient"], queue)
        if queue:  # the newest entries come first
            entries = {"embedding": encoded["queued"], "patient": batch["patient"]}
            updated = {
                name: jnp.concatenate([entry, queue[name]])[: self.queue]
                for name, entry in entries.items()
            }
            updates = {**updates, "slow": average, "queue": updated}
        unit = self._unit_parts(encoded["views"])
        metrics = {
            "pair_accuracy": hit_rate,
            "positive_cosine": (unit[:, 0] * unit[:, 1]).sum(-1).mean(),
        }
        return loss, (metrics | collapse_metrics(encoded["embedding"]), updates)

    def network(self, encoder: nn.Module) -> ProjectedEncoder:
        """Returns the encoder with a projection head for each part of its embedding."""
        return ProjectedEncoder(encoder=encoder, widths=self.projection, per_part=True)

    def _contrast(
        self, views: jax.Array, patients: jax.Array, queue: dict | None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the means of loss and accuracy over the parts of the embedding.

        `views` is [pair, 2, part * width]. Each part has its own loss: a part whose features tell
        patients apart more easily would otherwise leave the others nothing to learn.
        """
        width = self.projection[-1]
        losses = []
        hit_rates = []
        for start in range(0, views.shape[-1], width):
            part = slice(start, start + width)
            negatives = (queue["embedding"][:, part], queue["patient"]) if queue else None
            loss, hit_rate = nt_xent(
                views[..., part],
                patients,
                temperature=self.temperature,
                queue_negatives=negatives,
            )
            losses.append(loss)
            hit_rates.append(hit_rate)
        return jnp.stack(losses).mean(), jnp.stack(hit_rates).mean()

    def _unit_parts(self, projections: jax.Array) -> jax.Array:
        """[..., part * width] -> unit vectors [..., part, width]."""
        return unit_length(projections.reshape(*projections.shape[:-1], -1, self.projection[-1]))
