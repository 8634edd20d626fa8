"""Spread of embeddings over a batch: the variance and covariance terms of VICReg.

Bardes et al. 2022 (arXiv:2105.04906). They keep a method without negatives from giving all
recordings nearly the same vector, and its dimensions from repeating each other.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ecgjax.errors import InputError

TINY = 1e-4
"""Added to a variance before its root, as in VICReg."""


@dataclasses.dataclass(frozen=True)
class SpreadWeights:
    """Weights of the variance and the covariance term; VICReg's own ratio is 25 to 1."""

    variance: float = 0.0
    """Weight of the mean shortfall of a dimension's standard deviation from 1."""
    covariance: float = 0.0
    """Weight of the squared covariances of different dimensions, summed, per dimension."""

    def __post_init__(self):
        if not (self.variance >= 0 and self.covariance >= 0):  # refuses not-a-number too
            raise InputError(
                f"variance {self.variance}, covariance {self.covariance}: give weights of 0 or more"
            )

    def total(self, terms: dict[str, jax.Array]) -> jax.Array:
        """Returns the weighted sum of what `spread_terms` returns."""
        return self.variance * terms["variance"] + self.covariance * terms["covariance"]


def spread_terms(*views: jax.Array) -> dict[str, jax.Array]:
    """Returns the variance and covariance terms (eq. 1 and 4), mean over views [row, dimension].

    Statistics are over all rows of the global batch, of each view on its own. A single row has no
    spread: its terms are constant.
    """
    variances = []
    covariances = []
    for view in views:
        centred = view - view.mean(0, keepdims=True)
        rows = max(len(view) - 1, 1)
        deviation = jnp.sqrt(jnp.square(centred).sum(0) / rows + TINY)
        variances.append(jnp.maximum(1 - deviation, 0).mean())
        covariance = jnp.matmul(centred.T, centred, precision="highest") / rows
        different = covariance * (1 - jnp.eye(len(covariance)))
        covariances.append(jnp.square(different).sum() / len(covariance))
    return {"variance": jnp.stack(variances).mean(), "covariance": jnp.stack(covariances).mean()}
