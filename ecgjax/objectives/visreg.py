"""VISReg: crops of a recording agree; centre, scale and shape of their projections are normal.

Wu et al. 2026 (arXiv:2606.02572). The agreement is LeJEPA's: the mean squared distance of all crops
to the mean of the long ones. In place of SIGReg there are three terms for each crop number over the
batch. Centre: the mean of each dimension is 0. Scale: its standard deviation is 1. Shape: the
standardised projections on random directions, sorted, equal the quantiles of the normal
distribution (sliced Wasserstein distance). The shape has no gradient through the scale, so the two
do not work against each other.

Statistics are those of the global batch. The defaults are for small machines; the preset
visreg_2026 has the head and weight of the authors' script.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from ecgjax.augment import Augmentation
from ecgjax.devices import gathered
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

TINY = 1e-8
"""Added to a variance before its root, whose gradient at 0 is infinite."""


@dataclasses.dataclass(frozen=True)
class Visreg:
    """Settings of VISReg."""

    weight: float = 0.5
    """Weight of centre, scale and shape together; the distance to the centre has 1 minus this."""
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
        centre, scale, shape = regularisation(
            crops.swapaxes(0, 1), direction_key, directions=self.directions
        )
        metrics = {"centre_distance": distance, "centre": centre, "scale": scale, "shape": shape}
        loss = (1 - self.weight) * distance + self.weight * (centre + scale + shape)
        return loss, (metrics | collapse_metrics(embedding), updates)

    def network(self, encoder: nn.Module) -> ProjectedEncoder:
        """Returns the encoder with its projection head."""
        return ProjectedEncoder(encoder=encoder, widths=self.projection, batch_norm=True)


def regularisation(
    projections: jax.Array, key: jax.Array, *, directions: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns how far projections are from a standard normal distribution: centre, scale, shape.

    Args:
      projections: float32 [crop, recording, dimension]; each crop number is a sample of its own.
      key: random key of the directions.
      directions: number of directions.
    """
    mean = projections.mean(1, keepdims=True)
    centred = projections - mean
    deviation = jnp.sqrt(jnp.square(centred).mean(1, keepdims=True) + TINY)
    standardised = centred / jax.lax.stop_gradient(deviation)
    # Sorting needs the whole batch on one device.
    samples = random_slices(gathered(standardised), key, directions=directions)
    return (
        jnp.square(mean).mean(),
        jnp.square(deviation - 1).mean(),
        quantile_distance(samples).mean(),
    )


def quantile_distance(samples: jax.Array) -> jax.Array:
    """Returns the squared 2-Wasserstein distance of samples to the standard normal distribution.

    The n sorted values are compared with the quantiles of 1 / (n + 1) to n / (n + 1).

    Args:
      samples: float32 [..., value, sample].

    Returns:
      float32 [..., sample].
    """
    count = samples.shape[-2]
    quantiles = scipy.special.ndtri(np.arange(1, count + 1) / (count + 1)).astype(np.float32)
    expected = quantiles.reshape((1,) * (samples.ndim - 2) + (count, 1))
    return jnp.square(jnp.sort(samples, axis=-2) - expected).mean(-2)
