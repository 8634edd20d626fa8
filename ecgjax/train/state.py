"""What training changes, and the one step that changes it."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ecgjax.train.sharding import replicated, split, split_stack


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
      step: int32, steps taken.
      params: {"encoder": ..., whatever else the objective trains}.
      collections: the objective's variables that no gradient reaches (batch statistics, slow targets, queues). One
        named "result", {"params": {"encoder": ...}}, is what the method keeps in place of what it trains.
      opt_state: optax state.
    """

    step: jax.Array
    params: dict
    collections: dict
    opt_state: optax.OptState


def create_state(variables: dict, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """A state at step 0 on every device of the mesh."""
    collections = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    state = TrainState(jnp.zeros((), jnp.int32), params, collections, tx.init(params))
    # A copy: the first step gives away its buffers, and the caller may want the initial weights again.
    return jax.device_put(jax.tree.map(jnp.copy, state), replicated(mesh))


def make_step(
    loss: Callable,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    *,
    num_steps: int,
    fetch: Callable | None = None,
) -> Callable:
    """The jitted steps of one dispatch.

    Args:
      loss: (variables, batch, key) -> (loss, (metrics, updates)), an objective's.
      tx: the optimizer.
      mesh: where it runs.
      num_steps: of the whole run; the loss finds in the batch how much of it is done, "progress" from 0 to below 1.
      fetch: (resident, batch) -> batch, where signals wait in device memory and batches only say which.

    Returns:
      (state, stack of batches [step, batch, ...], key, resident or None) -> (state, metrics of the last step). The
      run's key is folded with the step, so a resumed step draws what the uninterrupted one would have. The given
      state's buffers are reused for the new one.
    """

    def step(state: TrainState, batch: dict, key: jax.Array) -> tuple[TrainState, dict]:
        batch = {**batch, "progress": state.step / num_steps}

        def loss_of(params: dict):
            # Objectives know no mesh, but they may say that a value is needed on every device.
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return loss(
                    {"params": params, **state.collections},
                    batch,
                    jax.random.fold_in(key, state.step),
                )

        (value, (metrics, updates)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        changes, opt_state = tx.update(gradients, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, changes)
        metrics = {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradients)}
        new = TrainState(state.step + 1, params, {**state.collections, **updates}, opt_state)
        return new, metrics

    def dispatch(state: TrainState, stack: dict, key: jax.Array, resident: jax.Array | None = None):
        def one(state: TrainState, batch: dict):
            return step(state, fetch(resident, batch) if fetch else batch, key)

        if len(stack["signal"]) == 1:  # no loop to compile around it
            return one(state, jax.tree.map(lambda part: part[0], stack))
        state, metrics = jax.lax.scan(one, state, stack)
        return state, jax.tree.map(lambda metric: metric[-1], metrics)

    shared = replicated(mesh)
    shardings = (shared, split_stack(mesh), shared, split(mesh))
    return jax.jit(
        dispatch, in_shardings=shardings, out_shardings=(shared, shared), donate_argnums=0
    )
