"""Many regularised logistic regressions on the same features, fitted at once.

A linear probe needs one regression for each class, fold and regularisation strength. scikit-learn
fits them one after another. Here each iteration is two matrix products for all of them, so a probe
with 71 classes takes seconds. A multinomial regression is minimised in the same way.

The objective is scikit-learn's: |w|^2 / 2 + C * (sum of log losses), with an unregularised
intercept. Its curvature is at most that of the features' Gram matrix (Böhning 1992), so that along
the eigenvectors of that matrix a step size of 1 / (C * eigenvalue / 4 + 1) needs no line search.
The steps use Nesterov's momentum (1983). It is reset for a regression whose last step went uphill
(O'Donoghue & Candès 2015).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCE = 1e-7
"""A fit stops when the predicted decrease falls below this fraction of the initial objective."""
MAX_STEPS = 1000


class Regressions:
    """Logistic regressions on the same features.

    Args:
      features: [recording, feature], centred and of similar scale.
    """

    def __init__(self, features: np.ndarray):
        self._rotated, self._axes, self._curvature = _principal(jnp.asarray(features, jnp.float32))

    def fit(
        self, cases: np.ndarray, used: np.ndarray, strengths: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits one regression for each column of `cases`.

        Memory: about 30 bytes times recordings times regressions.

        Args:
          cases: True for a case, bool [recording, regression].
          used: True for a recording that the regression is fitted to, bool [recording, regression].
          strengths: inverse regularisation strengths C, [regression].

        Returns:
          Weights float32 [feature, regression] and intercepts float32 [regression].
        """
        c = jnp.asarray(strengths, jnp.float32)
        solution = _minimise(
            self._rotated, self._curvature, jnp.asarray(cases), jnp.asarray(used), c
        )
        return np.asarray(_dot(self._axes, solution[:-1])), np.asarray(solution[-1])

    def fit_classes(
        self, cases: np.ndarray, used: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fits one multinomial regression.

        Args:
          cases: the class of each recording, one-hot, bool [recording, class].
          used: True for a recording that the regression is fitted to, bool [recording].
          strength: inverse regularisation strength C.

        Returns:
          Weights float32 [feature, class] and intercepts float32 [class].
        """
        c = jnp.full(cases.shape[1], strength, jnp.float32)
        # The curvature of the softmax is at most twice that of the logistic function (Böhning).
        solution = _minimise(
            self._rotated,
            2 * self._curvature,
            jnp.asarray(cases),
            jnp.asarray(used)[:, None],
            c,
            joint=True,
        )
        return np.asarray(_dot(self._axes, solution[:-1])), np.asarray(solution[-1])


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


@jax.jit
def _principal(features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rotates features to the eigenvectors of their Gram matrix.

    Returns:
      Rotated features with a last column of ones, the eigenvectors, and the largest curvature along
      each rotated feature.
    """
    eigenvalues, axes = jnp.linalg.eigh(_dot(features.T, features))
    # n recordings vary along at most n eigenvectors, those with the largest eigenvalues.
    rank = min(features.shape)
    axes = axes[:, -rank:]
    ones = jnp.ones((len(features), 1))
    curvature = jnp.append(jnp.maximum(eigenvalues[-rank:], 0.0), len(features)) / 4
    return jnp.concatenate([_dot(features, axes), ones], axis=1), axes, curvature


@functools.partial(jax.jit, static_argnames="joint")
def _minimise(
    features: jax.Array,
    curvature: jax.Array,
    cases: jax.Array,
    used: jax.Array,
    c: jax.Array,
    *,
    joint: bool = False,
) -> jax.Array:
    """Returns weights [feature, regression]; the last feature is the unregularised intercept.

    If `joint`, the columns are the classes of one regression.
    """
    predict = jax.nn.softmax if joint else jax.nn.sigmoid

    def total(values: jax.Array) -> jax.Array:
        sums = values.sum(axis=0)
        return jnp.full_like(sums, sums.sum()) if joint else sums

    penalty = jnp.ones((len(curvature), 1)).at[-1].set(0.0)
    step = 1 / (c[None, :] * curvature[:, None] + penalty)
    tolerance = TOLERANCE * c * jnp.log(2.0) * used.sum(axis=0)

    def body(carry: tuple) -> tuple:
        solution, ahead, momentum, count, _ = carry
        residual = jnp.where(used, predict(_dot(features, ahead)) - cases, 0.0)
        gradient = c[None, :] * _dot(features.T, residual) + penalty * ahead
        new = ahead - step * gradient
        moved = new - solution
        uphill = total(gradient * moved) > 0
        momentum = jnp.where(uphill, 1.0, momentum)
        next_momentum = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        next_ahead = new + ((momentum - 1) / next_momentum)[None, :] * moved
        done = total(step * gradient**2) <= tolerance
        return new, next_ahead, next_momentum, count + 1, done.all()

    start = jnp.zeros((len(curvature), cases.shape[1]))
    carry = (start, start, jnp.ones(cases.shape[1]), 0, False)
    return jax.lax.while_loop(lambda carry: ~carry[4] & (carry[3] < MAX_STEPS), body, carry)[0]
