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

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.objectives.parts.centre_prediction import CentrePrediction
from ecgjax.objectives.parts.multi_crop import random_slices

FREQUENCIES = np.linspace(0, 3, 17, dtype=np.float32)
"""Points at which characteristic functions are compared, in the paper's code 17 from 0 to 3."""
NORMAL = np.exp(-np.square(FREQUENCIES) / 2)
"""The characteristic function of the standard normal distribution, and the weight of a point."""


@dataclasses.dataclass(frozen=True)
class Lejepa(CentrePrediction):
    """Settings of LeJEPA."""

    weight: float = 0.05
    """Weight of SIGReg; the distance to the centre has 1 minus this."""

    def regularise(self, projections: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns SIGReg of projections [crop, recording, dimension]; see `CentrePrediction`."""
        return {"sigreg": sigreg(projections, key, directions=self.directions)}


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
