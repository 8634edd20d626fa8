"""LeJEPA: crops of a recording agree, and their projections are spread like a normal distribution.

Balestriero & LeCun 2025 (arXiv:2511.08544). Every crop predicts the centre of its recording, which
is the mean of the long crops' projections: the mean squared distance. SIGReg keeps the projections
from collapsing. It projects those of each crop number over the batch on random directions, and
measures with the statistic of Epps & Pulley 1983 how far each projection is from a standard normal
distribution. There are no negatives, no teacher and no queue, and one weight.

Statistics are those of the global batch. The defaults are for small machines; the preset
lejepa_2025 has the head, weight and number of directions of the authors' code.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.augment import Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.parts.collapse import collapse_metrics
from ecgjax.objectives.parts.multi_crop import (
    centre_distance,
    check_crops,
    crop_kinds,
    encode_crops,
    random_slices,
)
from ecgjax.objectives.parts.projection_head import ProjectedEncoder, check_widths
from ecgjax.preprocessing import Preprocessor

FREQUENCIES = np.linspace(0, 3, 17, dtype=np.float32)
"""Points at which characteristic functions are compared, in the paper's code 17 from 0 to 3."""
NORMAL = np.exp(-np.square(FREQUENCIES) / 2)
"""The characteristic function of the standard normal distribution, and the weight of a point."""


@dataclasses.dataclass(frozen=True)
class Lejepa:
    """Settings of LeJEPA."""

    weight: float = 0.05
    """Weight of SIGReg; the distance to the centre has 1 minus this."""
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
        """Returns the weighted sum of distance to the centre and SIGReg; see `ecgjax.objectives`.

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
        abnormality = sigreg(crops.swapaxes(0, 1), direction_key, directions=self.directions)
        metrics = {"centre_distance": distance, "sigreg": abnormality}
        loss = (1 - self.weight) * distance + self.weight * abnormality
        return loss, (metrics | collapse_metrics(embedding), updates)

    def network(self, encoder: nn.Module) -> ProjectedEncoder:
        """Returns the encoder with its projection head."""
        return ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)


def sigreg(projections: jax.Array, key: jax.Array, *, directions: int) -> jax.Array:
    """Returns the mean Epps-Pulley statistic over random directions and crops (SIGReg).

    Args:
      projections: float32 [crop, recording, dimension]; each crop number is a sample of its own.
      key: random key of the directions.
      directions: number of directions.
    """
    return epps_pulley(random_slices(projections, key, directions=directions)).mean()


def epps_pulley(samples: jax.Array) -> jax.Array:
    """Returns the statistic of Epps & Pulley for samples of a standard normal distribution.

    The statistic is the number of values times the integral from -3 to 3 of |f(t) - exp(-t^2/2)|^2
    exp(-t^2/2), by the trapezoidal rule, with the sample's characteristic function f. It is about 1
    for a normal sample, whatever its size, and grows with the size of any other.

    Args:
      samples: float32 [..., value, sample].

    Returns:
      float32 [..., sample].
    """

    @jax.checkpoint  # else the backward pass would store 17 arrays of the samples' size
    def gap(frequency: jax.Array) -> jax.Array:
        real = jnp.cos(frequency * samples).mean(-2)
        imaginary = jnp.sin(frequency * samples).mean(-2)
        return jnp.square(real - jnp.exp(-jnp.square(frequency) / 2)) + jnp.square(imaginary)

    gaps = jax.lax.map(gap, jnp.asarray(FREQUENCIES))
    step = FREQUENCIES[1] - FREQUENCIES[0]
    weights = 2 * step * NORMAL  # twice, for the negative frequencies
    weights = weights * np.where(np.arange(len(weights)) % (len(weights) - 1), 1, 0.5)
    return samples.shape[-2] * jnp.tensordot(weights.astype(np.float32), gaps, axes=1)
