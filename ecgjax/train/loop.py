"""The loop, used by pre-training and by fine-tuning."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import jax
from jax.sharding import Mesh

from ecgjax.signals import InputError
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.runlog import RunLog, console
from ecgjax.train.sharding import place, replicated
from ecgjax.train.state import TrainState

if TYPE_CHECKING:
    import grain


def train(
    step_fn: Callable,
    state: TrainState,
    batches: "grain.IterDataset",
    *,
    num_steps: int,
    key: jax.Array,
    mesh: Mesh,
    workdir: Path,
    config: dict,
    title: str,
    save_every: int,
    log_every: int,
) -> tuple[TrainState, Path]:
    """Trains to `num_steps`, from the newest checkpoint in `workdir` where there is one.

    Args:
      step_fn: as made by `ecgjax.train.state.make_step`.
      state: the state at step 0.
      batches: endless batches; their iterator's position is saved with the state.
      num_steps: steps of the whole run, those before a resume included.
      key: the run's key.
      mesh: where it runs.
      workdir: checkpoints, metrics.jsonl and TensorBoard events.
      config: saved in the checkpoint; a resumed run's must be equal.
      title: what is trained, for the screen.
      save_every: steps between checkpoints; the last step is always saved.
      log_every: steps between log lines.

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
    data, key = iter(batches), jax.device_put(key, replicated(mesh))
    with Checkpoints(workdir) as checkpoints:
        if resumed := checkpoints.resume(state, data, config):
            state = resumed
            console.print(f"{title}: resumes at step {int(state.step)} of {num_steps}")
        first_step, pending = int(state.step), None
        with RunLog(workdir, title=title, num_steps=num_steps, first_step=first_step) as log:
            for step in range(first_step + 1, num_steps + 1):
                batch = place(next(data), mesh)
                state, metrics = step_fn(state, batch, key)
                # The step before is read only now: the device never waits for the log.
                if pending and pending[0] % log_every == 0:
                    log.write(*pending)
                pending = step, metrics, math.prod(batch["signal"].shape[:-2])
                if step % save_every == 0 or step == num_steps:
                    log.write(*pending)
                    pending = None
                    checkpoints.save(state, data, config)
        path = checkpoints.path(num_steps)
    return state, path
