"""The exponential moving average (EMA) of a network's parameters.

BYOL and JEPA use it as the target network, MoCo as the network that fills the queue of negatives.
"""

from typing import Any

import jax
import optax


def ema_update(average: dict, params: dict, decay: float | jax.Array) -> dict:
    """Returns `decay * average + (1 - decay) * params` for each parameter, without gradient."""
    # optax weights its first argument with the step size. This order needs no `1 - decay` as the
    # step size, so the decay rate is not rounded twice.
    updated: Any = optax.incremental_update(average, params, decay)
    return jax.lax.stop_gradient(updated)
