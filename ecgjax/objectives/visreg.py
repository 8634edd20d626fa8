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

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from ecgjax.devices import gathered
from ecgjax.objectives.parts.centre_prediction import CentrePrediction
from ecgjax.objectives.parts.multi_crop import random_slices

TINY = 1e-8
"""Added to a variance before its root, whose gradient at 0 is infinite."""


@dataclasses.dataclass(frozen=True)
class Visreg(CentrePrediction):
    """Settings of VISReg."""

    weight: float = 0.5
    """Weight of centre, scale and shape together; the distance to the centre has 1 minus this."""

    def regularise(self, projections: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns centre, scale and shape of projections [crop, recording, dimension]."""
        terms = regularisation(projections, key, directions=self.directions)
        return dict(zip(("centre", "scale", "shape"), terms, strict=True))


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
