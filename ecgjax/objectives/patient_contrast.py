"""Patient contrast: two recordings of one patient attract each other, everybody else's repel them.

The objective of Liu et al. 2025 (doi:10.1016/j.ijmedinf.2024.105742) and of PCLR (Diamant et al. 2022,
doi:10.1371/journal.pcbi.1009862): NT-Xent (SimCLR, arXiv:2002.05709) with temperature 0.1 over the global batch, where
the two views of a positive pair are recordings of one patient at different times. A patient with a single recording
gives two crops of it. Liu's text leaves encoder, batch, head and augmentation open: those here by default are the
package's own, chosen for small machines; the presets liu_2025 and pclr_2022 have PCLR's.

Small machines get more negatives from a queue of earlier batches, encoded by a slowly following copy of the network
(MoCo, arXiv:1911.05722) and kept with their patients (PMQ: https://github.com/3hiuwoo/PMQ, 16,384 long). Unlike there
the batch's own views are negatives as well, so a queue only ever adds to them.
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
from ecgjax.objectives.parts.microbatches import in_microbatches
from ecgjax.objectives.parts.nt_xent import NOBODY, nt_xent, unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


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
    instance_share: float = 0.0
    """Share of the pairs that are two views of one recording. Rhythms come and go (atrial fibrillation may be present
    at one visit and absent at the next), and pairs of visits alone teach the encoder not to see that."""
    min_days: float = 0.0
    """Least time between a pair's recordings, in days. A recording that nothing of the patient's is far enough from is
    its own partner; one without a date counts as any time away."""
    max_days: float = 0.0
    """Most time between a pair's recordings, in days, likewise; 0: any."""
    microbatch: int = 0
    """Pairs that are encoded at a time, to save memory; they share batch statistics. 0: the whole batch."""

    def __post_init__(self):
        check_widths(projection=self.projection)
        _ = self.examples  # says what is wrong with a rule
        if not (self.temperature > 0 and self.queue >= 0 and 0 <= self.queue_momentum < 1):
            raise InputError(
                f"temperature {self.temperature}, queue {self.queue}, queue_momentum {self.queue_momentum}: give a "
                f"temperature above 0, a queue of 0 or more and a momentum from 0 to below 1"
            )

    @property
    def examples(self) -> PairRule:
        """Which two recordings are a pair."""
        return PairRule(
            instance_share=self.instance_share, min_days=self.min_days, max_days=self.max_days
        )

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Variables for recordings like `signal`, float32 [batch, time, lead]."""
        variables = dict(self._network(encoder).init(key, signal, train=False))
        if self.queue:
            empty = jnp.zeros((self.queue, self.projection[-1])), jnp.full(self.queue, NOBODY)
            variables |= {
                "slow": {"params": variables["params"]},
                "queue": dict(zip(QUEUE, empty, strict=True)),
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
        """NT-Xent of a batch of pairs.

        Of batch: signal int16 [pair, 2, time, lead]; patient int32 [pair].
        """
        network, slow = self._network(encoder), None
        if self.queue:
            slow = {
                "params": ema_update(
                    variables["slow"]["params"], variables["params"], self.queue_momentum
                )
            }

        def encode(signal: jax.Array, key: jax.Array):
            """[pair, 2, time, lead] -> {"embedding", "views": [pair, 2, width], "first": [pair, width] by `slow`}."""
            recordings = preprocess(signal.reshape(-1, *signal.shape[2:]))
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz)
            project = {"train": True, "mutable": ["batch_stats"]}
            own = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
            (embedding, projections), updates = network.apply(own, views, **project)
            embeddings = {
                "embedding": embedding[::2],
                "views": projections.reshape(*signal.shape[:2], -1),
            }
            if slow:
                (_, first), _ = network.apply({**own, **slow}, views[::2], **project)
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
            newest = {
                name: jnp.concatenate([new[name], queue[name]])[: self.queue] for name in QUEUE
            }
            updates = {**updates, "slow": slow, "queue": newest}
        unit = unit_length(embeddings["views"])
        metrics = {
            "pair_accuracy": hit_rate,
            "positive_cosine": (unit[:, 0] * unit[:, 1]).sum(-1).mean(),
        }
        return loss, (metrics | collapse_metrics(embeddings["embedding"]), updates)

    def _network(self, encoder: nn.Module) -> nn.Module:
        return ProjectedEncoder(encoder=encoder, widths=self.projection)


QUEUE = ("embedding", "patient")
"""What the queue holds: unit vectors [queue, dimension], newest first, and their patients."""
