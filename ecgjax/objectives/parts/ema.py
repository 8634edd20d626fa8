"""The exponential moving average (EMA) of a network's parameters.

BYOL and JEPA use it as the target network, MoCo as the network that fills the queue of negatives.
With `WeightEma` it is the result of any method.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ecgjax.errors import InputError


def ema_update(average: dict, params: dict, decay: float | jax.Array) -> dict:
    """Returns `decay * average + (1 - decay) * params` for each parameter, without gradient."""
    # optax weights its first argument with the step size. This order needs no `1 - decay` as the
    # step size, so the decay rate is not rounded twice.
    updated: Any = optax.incremental_update(average, params, decay)
    return jax.lax.stop_gradient(updated)


def limit_decay(decay: float | jax.Array, num_steps: int, *, memory: float) -> float | jax.Array:
    """Limits the decay of an EMA in a short run.

    The published decays belong to runs of 100,000 steps. With a decay of 0.998 an average reaches
    back over 500 steps: after a run of 275 it is mostly the initial weights. That matters where the
    average is the result (JEPA). As a target alone, initial weights do no harm in a short run: BYOL
    lost by a limit of 0.05 (PTB-XL, 8,800 recordings, mean AUROC of four tasks with 1,000 labels on
    fold 9: 0.778, without it 0.798).

    Args:
      decay: the decay of the method's schedule.
      num_steps: steps of the whole run.
      memory: longest memory, 1 / (1 - decay) steps, as a share of the run; 0: no limit.
    """
    if not memory:
        return decay
    return jnp.minimum(decay, 1 - 1 / max(memory * num_steps, 1.0))


@dataclasses.dataclass(frozen=True)
class WeightEma:
    """An objective whose result is the EMA of the encoder's weights.

    The objective trains as it does alone. Batch statistics are those of the trained encoder.
    """

    objective: Any
    """Any objective without an EMA of its own as the result."""
    decay: float
    """Decay of the EMA in a step."""

    def init(self, encoder: nn.Module, key: jax.Array, signal: jax.Array) -> dict:
        """Returns initial variables, with the encoder's as the first result.

        Raises:
          InputError: the objective has a result of its own.
        """
        variables = dict(self.objective.init(encoder, key, signal))
        if "result" in variables:
            name = type(self.objective).__name__
            raise InputError(f"--ema-decay {self.decay:g}: {name} has an EMA of its own; give 0")
        return variables | {"result": {"params": {"encoder": variables["params"]["encoder"]}}}

    def loss(self, encoder: nn.Module, variables: dict, batch: dict, key: jax.Array, **given: Any):
        """Returns the loss of the objective, and the EMA among its updates."""
        own = {name: part for name, part in variables.items() if name != "result"}
        loss, (metrics, updates) = self.objective.loss(encoder, own, batch, key, **given)
        average = ema_update(
            variables["result"]["params"]["encoder"],
            variables["params"]["encoder"],
            self.decay,
        )
        return loss, (metrics, {**updates, "result": {"params": {"encoder": average}}})
