"""SimCLR: two views of one recording attract each other and repel those of all other recordings.

Chen et al. 2020 (arXiv:2002.05709) in the form of Mehari & Strodthoff 2022 (arXiv:2103.12676, code
at hhi-aml/ecg-selfsupervised): NT-Xent over the global batch with temperature 0.5, a projection
head of 2048 and 128, random resized crops of 2.5 s and TimeOut. Patients are ignored: another
recording of the same patient is a negative like any other.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ecgjax.augment import MEHARI_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.microbatches import encode_in_microbatches
from ecgjax.objectives.parts.nt_xent import nt_xent, unit_length
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class Simclr:
    """Settings of SimCLR."""

    temperature: float = 0.5
    """Temperature of NT-Xent; it divides the cosine similarities."""
    projection: tuple[int, ...] = (2048, 128)
    """Widths of the projection head's layers; the head is discarded after pre-training."""
    augmentation: Augmentation = MEHARI_VIEWS
    """Augmentation that makes the two views of a recording."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        check_widths(projection=self.projection)
        if not self.temperature > 0:  # refuses not-a-number too
            raise InputError(f"temperature {self.temperature}: give one above 0")

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables for recordings like `signal`, float32 [batch, time, lead]."""
        return dict(self.network(encoder).init(key, signal, train=False))

    def loss(
        self,
        encoder: nn.Module,
        variables: dict,
        batch: dict,
        key: jax.Array,
        *,
        preprocess: Preprocessor,
    ):
        """Returns the NT-Xent loss of two views of each recording; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead].
        """

        def encode(signal: jax.Array, key: jax.Array):
            """[recording, time, lead] -> embeddings by name, and updates of batch statistics."""
            recordings = preprocess(signal)
            views = self.augmentation.views(recordings, key, rate_hz=preprocess.rate_hz, each=2)
            (embedding, projections), updates = self.network(encoder).apply(
                variables, views, train=True, mutable=["batch_stats"]
            )
            encoded = {"embedding": embedding, "views": projections.reshape(len(signal), 2, -1)}
            return encoded, updates

        encoded, updates = encode_in_microbatches(
            encode, batch["signal"], key, size=self.microbatch
        )
        views = encoded["views"]
        loss, hit_rate = nt_xent(views, jnp.arange(len(views)), temperature=self.temperature)
        unit = unit_length(views)
        metrics = {
            "pair_accuracy": hit_rate,
            "positive_cosine": (unit[:, 0] * unit[:, 1]).sum(-1).mean(),
        }
        return loss, (metrics | collapse_metrics(encoded["embedding"]), updates)

    def network(self, encoder: nn.Module) -> ProjectedEncoder:
        """Returns the encoder with its projection head."""
        return ProjectedEncoder(encoder=encoder, widths=self.projection)
