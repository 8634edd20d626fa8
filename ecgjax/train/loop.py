"""The loop, used by pre-training and by fine-tuning."""

import math
from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import Mesh

from ecgjax.data.batches import Batches
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.runlog import RunLog, console
from ecgjax.train.sharding import place, replicated
from ecgjax.train.state import TrainState


def train(
    step_fn: Callable,
    state: TrainState,
    batches: Batches,
    *,
    num_steps: int,
    key: jax.Array,
    mesh: Mesh,
    workdir: Path,
    config: dict,
    seen: Seen,
    title: str,
    save_every: int,
    log_every: int,
    resident: jax.Array | None = None,
) -> tuple[TrainState, Path]:
    """Trains to `num_steps`, from the newest checkpoint in `workdir` where there is one.

    Args:
      step_fn: as made by `ecgjax.train.state.make_step`.
      state: the state at step 0.
      batches: this process's part of the run's batches.
      num_steps: steps of the whole run, those before a resume included.
      key: the run's key.
      mesh: where it runs.
      workdir: checkpoints, metrics.jsonl and TensorBoard events.
      config: saved in the checkpoint; a resumed run's must be equal.
      seen: recordings that the encoder will have seen; saved in the checkpoint.
      title: what is trained, for the screen.
      save_every: steps between checkpoints; the last step is always saved.
      log_every: steps between log lines.
      resident: signals that wait in device memory, for a step that fetches them there. As many steps as fit between
        two log lines and checkpoints are then one dispatch.

    Returns:
      The trained state and the last checkpoint's folder.

    Raises:
      InputError: a number of steps below 1, a workdir that holds another run, or a loss that is not finite.
    """
    if min(num_steps, save_every, log_every) < 1:
        raise InputError(
            f"{num_steps} steps, a checkpoint every {save_every} and a log line every {log_every}: "
            f"give positive numbers"
        )
    # By way of its numbers: JAX puts no key on the devices of other processes.
    key = jax.random.wrap_key_data(jax.device_put(jax.random.key_data(key), replicated(mesh)))
    at_once = 1 if resident is None else math.gcd(save_every, log_every)
    with Checkpoints(workdir) as checkpoints:
        if resumed := checkpoints.resume(state, config):
            state = resumed
            console.print(f"{title}: resumes at step {int(state.step)} of {num_steps}")
        step, pending = int(state.step), None
        with RunLog(
            workdir,
            title=title,
            num_steps=num_steps,
            recordings=batches.recordings,
            first_step=step,
        ) as log:
            for stack in log.timed(batches.between(step, num_steps, at_once=at_once)):
                stack = place(stack, mesh)
                state, metrics = step_fn(state, stack, key, resident)
                # The dispatch before is read only now: the device never waits for the log.
                if pending and pending[0] % log_every == 0:
                    log.write(*pending)
                step += len(stack["signal"])
                pending = step, metrics
                if step % save_every == 0 or step == num_steps:
                    log.write(*pending)
                    pending = None
                    checkpoints.save(state, config, seen)
        path = checkpoints.path(num_steps)
    return state, path
