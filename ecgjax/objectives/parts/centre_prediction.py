"""Prediction of a centre: crops of a recording agree, and their projections keep a distribution.

Every crop predicts the centre of its recording, which is the mean of the long crops' projections:
the mean squared distance. A regularisation keeps the projections from collapsing: for each crop
number over the batch, it measures how far they are from a standard normal distribution. There are
no negatives, no teacher and no queue. LeJEPA (arXiv:2511.08544) and VISReg (arXiv:2606.02572)
differ in the regularisation only.
"""

import abc
import dataclasses

import flax.linen as nn
import jax

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.multi_crop import (
    centre_distance,
    check_crops,
    crop_kinds,
    encode_crops,
)
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor


@dataclasses.dataclass(frozen=True)
class CentrePrediction(abc.ABC):
    """Settings of a method that predicts centres; its file overrides `regularise`."""

    weight: float = 0.5
    """Weight of the regularisation; the distance to the centre has 1 minus this."""
    directions: int = 256
    """Number of random directions, drawn anew in each step."""
    projection: tuple[int, ...] = (1024, 1024, 128)
    """Widths of the projection head's layers, with batch normalisation; the head is discarded after
    pre-training."""
    augmentation: Augmentation = Augmentation(crop_s=5.0)
    """Augmentation of the crops; its crop_s is the length of the two long ones."""
    small_crops: int = 2
    """Number of short crops, which predict the centre of the long ones."""
    small_crop_s: float = 2.5
    """Length of a short crop in seconds."""
    microbatch: int = 0
    """Recordings that are encoded at a time, to save memory; they share batch statistics. 0: the
    whole batch."""

    examples = "single"

    def __post_init__(self):
        check_widths(projection=self.projection)
        check_crops(self.small_crops, self.small_crop_s)
        if not (0 <= self.weight <= 1 and self.directions >= 1):
            raise InputError(
                f"weight {self.weight}, directions {self.directions}: give a weight from 0 to 1 "
                f"and one direction or more"
            )

    @abc.abstractmethod
    def regularise(self, projections: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns the terms of the regularisation by name; their sum is weighted.

        Args:
          projections: float32 [crop, recording, dimension]; each crop number is a sample of its
            own.
          key: random key of the directions.
        """

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
        """Returns the weighted sum of distance and regularisation; see `ecgjax.objectives`.

        `batch` has "signal", int16 [recording, time, lead].
        """
        crop_key, direction_key = jax.random.split(key)
        kinds = crop_kinds(
            self.augmentation, small_crops=self.small_crops, small_crop_s=self.small_crop_s
        )
        embedding, crops, updates = encode_crops(
            self.network(encoder),
            variables,
            batch["signal"],
            crop_key,
            kinds,
            preprocess=preprocess,
            microbatch=self.microbatch,
        )
        distance = centre_distance(crops)
        terms = self.regularise(crops.swapaxes(0, 1), direction_key)
        loss = (1 - self.weight) * distance + self.weight * sum(terms.values())
        metrics = {"centre_distance": distance, **terms, **collapse_metrics(embedding)}
        return loss, (metrics, updates)

    def network(self, encoder: nn.Module) -> ProjectedEncoder:
        """Returns the encoder with its projection head."""
        return ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)
