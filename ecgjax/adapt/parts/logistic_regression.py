"""Many regularised logistic regressions at once: all classes, folds and strengths that share their features.

scikit-learn fits one after another; here each iteration is two matrix products for all of them, which is why a probe
with 71 classes takes seconds. What is minimised is scikit-learn's objective, |w|^2 / 2 + C * sum of log losses with a
free intercept, whose curvature never exceeds that of the features' Gram matrix (Böhning 1992): along its axes a step of
1 / (C * eigenvalue / 4 + 1) needs no line search. Steps are accelerated (Nesterov 1983), and a regression whose last
one went uphill starts anew (O'Donoghue & Candès 2015).
"""

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-7
"""Of the objective at zero: how much another step may promise when it is enough."""
MOST_STEPS = 1000


class Regressions:
    """Fits any number of regressions to the same features.

    Args:
      features: [recording, feature], centred and of similar scale.
    """

    def __init__(self, features: np.ndarray):
        self._rotated, self._axes, self._curvature = _principal(jnp.asarray(features, jnp.float32))

    def fit(
        self, cases: np.ndarray, used: np.ndarray, strengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits a regression for each column; takes about 30 bytes of memory for each of its recordings.

        Args:
          cases: whether a recording is a case, bool [recording, regression].
          used: whether a regression may use a recording, bool [recording, regression].
          strengths: inverse regularisation strengths C, [regression].

        Returns:
          Weights float32 [feature, regression] and intercepts float32 [regression].
        """
        c = jnp.asarray(strengths, jnp.float32)
        solution = _minimise(
            self._rotated, self._curvature, jnp.asarray(cases), jnp.asarray(used), c
        )
        return np.asarray(_dot(self._axes, solution[:-1])), np.asarray(solution[-1])


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


@jax.jit
def _principal(features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features along the axes of their Gram matrix and a last one of ones; the axes; the largest curvatures."""
    eigenvalues, axes = jnp.linalg.eigh(_dot(features.T, features))
    span = slice(-min(features.shape), None)  # few recordings vary along few axes only
    eigenvalues, axes = eigenvalues[span], axes[:, span]
    ones = jnp.ones((len(features), 1))
    curvature = jnp.append(jnp.maximum(eigenvalues, 0.0), len(features)) / 4
    return jnp.concatenate([_dot(features, axes), ones], axis=1), axes, curvature


@jax.jit
def _minimise(
    features: jax.Array, curvature: jax.Array, cases: jax.Array, used: jax.Array, c: jax.Array
) -> jax.Array:
    """[feature, regression]; the last feature is the intercept's, which is not regularised."""
    penalty = jnp.ones((len(curvature), 1)).at[-1].set(0.0)
    step = 1 / (c[None, :] * curvature[:, None] + penalty)
    enough = TOLERANCE * c * jnp.log(2.0) * used.sum(axis=0)

    def body(carry):
        solution, ahead, momentum, count, _ = carry
        residual = jnp.where(used, jax.nn.sigmoid(_dot(features, ahead)) - cases, 0.0)
        gradient = c[None, :] * _dot(features.T, residual) + penalty * ahead
        new = ahead - step * gradient
        moved = new - solution
        uphill = (gradient * moved).sum(axis=0) > 0
        momentum = jnp.where(uphill, 1.0, momentum)
        following = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        done = (step * gradient**2).sum(axis=0) <= enough
        return (
            new,
            new + ((momentum - 1) / following)[None, :] * moved,
            following,
            count + 1,
            done.all(),
        )

    start = jnp.zeros((len(curvature), cases.shape[1]))
    carry = (start, start, jnp.ones(cases.shape[1]), 0, False)
    return jax.lax.while_loop(lambda carry: ~carry[4] & (carry[3] < MOST_STEPS), body, carry)[0]
