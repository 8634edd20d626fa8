"""The state of a training run, and the jitted step that changes it."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.sharding import replicated, split, split_stack


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
      step: int32, number of steps done.
      params: {"encoder": ..., everything else that the objective trains}.
      collections: the objective's variables without gradient (batch statistics, EMA targets,
        queues). If there is one named "result", {"params": {"encoder": ...}}, its encoder is the
        method's result and is saved in place of the trained one.
      opt_state: the state of the optax optimizer.
    """

    step: jax.Array
    params: dict
    collections: dict
    opt_state: optax.OptState


def create_state(variables: dict, tx: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Makes the state at step 0, on every device of the mesh.

    Args:
      variables: the objective's initial variables, {"params": ..., other collections}.
      tx: the optimizer.
      mesh: the devices.
    """
    collections = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    state = TrainState(jnp.zeros((), jnp.int32), params, collections, tx.init(params))
    # A copy: the first step donates its buffers, and the caller may need the initial weights again.
    return jax.device_put(jax.tree.map(jnp.copy, state), replicated(mesh))


def make_step(
    loss: Callable,
    tx: optax.GradientTransformation,
    mesh: Mesh,
    *,
    num_steps: int,
    schedule: optax.Schedule | None = None,
    cache: DeviceCache | None = None,
) -> Callable:
    """Makes the jitted function that does the steps of one dispatch.

    Args:
      loss: (variables, batch, key) -> (loss, (metrics, updates)), an objective's.
      tx: the optimizer.
      mesh: the devices.
      num_steps: steps of the whole run. The batch that the loss gets has an entry "progress", the
        share of the run that is done, from 0 to below 1, and "num_steps".
      schedule: the optimizer's learning-rate schedule; if given, the rate of the step is a metric.
      cache: recordings in device memory, if batches hold slots in place of signals.

    Returns:
      (state, stack of batches [step, batch, ...], key, signals of the cache or None) ->
      (state, metrics of the last step). The metric "finite", bool [step], is for all steps: are
      the loss and the gradient finite? The run's key is folded with the step, so a resumed step
      draws what the uninterrupted one would have drawn. The buffers of the given state are donated.
    """

    def step(state: TrainState, batch: dict, key: jax.Array) -> tuple[TrainState, dict]:
        batch = {**batch, "progress": state.step / num_steps, "num_steps": num_steps}

        def loss_fn(params: dict):
            # Objectives know no mesh, but they may ask for a value on every device.
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return loss(
                    {"params": params, **state.collections},
                    batch,
                    jax.random.fold_in(key, state.step),
                )

        gradient_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (value, (metrics, updates)), gradients = gradient_fn(state.params)
        changes, opt_state = tx.update(gradients, state.opt_state, state.params)
        params: Any = optax.apply_updates(state.params, changes)
        norm = optax.tree.norm(gradients)
        metrics = {"loss": value, **metrics, "gradient_norm": norm}
        metrics["finite"] = jnp.isfinite(value) & jnp.isfinite(norm)
        if schedule:
            metrics["learning_rate"] = jnp.asarray(schedule(state.step), jnp.float32)
        new = TrainState(state.step + 1, params, {**state.collections, **updates}, opt_state)
        return new, metrics

    def dispatch(state: TrainState, stack: dict, key: jax.Array, signals: Any = None):
        def scanned(state: TrainState, batch: dict):
            return step(state, cache.fetch(signals, batch) if cache else batch, key)

        if stack_length(stack) == 1:  # no loop to compile around it
            state, metrics = scanned(state, jax.tree.map(lambda part: part[0], stack))
            return state, {**metrics, "finite": metrics["finite"][None]}
        state, metrics = jax.lax.scan(scanned, state, stack)
        last = jax.tree.map(lambda metric: metric[-1], metrics)
        return state, {**last, "finite": metrics["finite"]}

    shared = replicated(mesh)
    shardings = (shared, split_stack(mesh), shared, split(mesh))
    return jax.jit(
        dispatch, in_shardings=shardings, out_shardings=(shared, shared), donate_argnums=0
    )


def stack_length(stack: dict) -> int:
    """Returns the number of batches in a stack."""
    return len(next(iter(stack.values())))
