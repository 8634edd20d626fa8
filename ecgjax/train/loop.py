"""The training loop of pre-training and fine-tuning. It knows no method.

The loop carries the `TrainState` on the devices and, on the host, the number of steps done and the
metrics of the last dispatch. They are logged only after the next dispatch has begun, so that the
devices never wait for the log. They do wait for a checkpoint and for the measurements of a `Watch`.
"""

import dataclasses
import math
import signal
from collections.abc import Callable
from pathlib import Path

import jax
from jax.sharding import Mesh

from ecgjax.data.batches import Batches
from ecgjax.data.seen import Seen
from ecgjax.errors import InputError, Interrupted
from ecgjax.train.checkpoint import Checkpoints
from ecgjax.train.device_cache import DeviceCache
from ecgjax.train.divergence import Divergence
from ecgjax.train.interrupts import Interrupts
from ecgjax.train.lock import locked
from ecgjax.train.log_files import console
from ecgjax.train.processes import one_line_if_others_end
from ecgjax.train.runlog import RunLog
from ecgjax.train.saving import SaveClock
from ecgjax.train.sharding import place, replicated
from ecgjax.train.state import TrainState, stack_length
from ecgjax.train.watch import Watch, Watching


@dataclasses.dataclass(frozen=True)
class Run:
    """Folder, config and records of a run. A run that was stopped resumes in the same folder."""

    workdir: Path
    """Folder of checkpoints, metrics.jsonl and TensorBoard events."""
    config: dict
    """Settings that are saved in the checkpoint; a run resumes only if they are equal."""
    title: str
    """Name of the run on the screen."""
    seen: Seen = Seen.none()
    """Recordings that the encoder will have seen; saved in the checkpoint."""
    save_every: int | None = None
    """Steps between checkpoints; the last step is always saved. None: only the last step."""
    save_every_s: float | None = None
    """Seconds after which a checkpoint is saved as well; a single process only, since several have
    no common clock."""
    log_every: int = 50
    """Steps between log lines."""
    watch: Watch | None = None
    """Measurements during the run; they change nothing in it and are not in its config."""

    @property
    def intervals(self) -> list[int]:
        """Numbers of steps after which something is written."""
        given = (self.save_every, self.log_every, self.watch and self.watch.every)
        return [steps for steps in given if steps is not None]


def train(
    step_fn: Callable,
    state: TrainState,
    batches: Batches,
    *,
    num_steps: int,
    run: Run,
    key: jax.Array,
    mesh: Mesh,
    cache: DeviceCache | None = None,
) -> tuple[TrainState, Path]:
    """Trains to `num_steps`, from the newest checkpoint in the workdir if there is one.

    SIGINT (Ctrl-C) and SIGTERM end the run after the current dispatch, with a checkpoint. A state
    that is not finite is never saved.

    Args:
      step_fn: the function made by `ecgjax.train.state.make_step`.
      state: the state at step 0.
      batches: this process's part of the run's batches.
      num_steps: steps of the whole run, including those before a resume.
      run: folder, config, and how often to save and log.
      key: the run's key.
      mesh: the devices.
      cache: recordings in device memory, if `step_fn` and `batches` use them. As many steps as fit
        between log lines and checkpoints are then one dispatch.

    Returns:
      The trained state and the folder of the last checkpoint.

    Raises:
      InputError: a number of steps below 1, a workdir that holds another run or is in use, a loss
        or gradient that is not finite, or a checkpoint that cannot be written.
      Interrupted: a signal ended the run; its message names the checkpoint.
    """
    save_every = num_steps if run.save_every is None else run.save_every
    if min(num_steps, *run.intervals) < 1:
        raise InputError(
            f"{num_steps} steps, a checkpoint every {save_every}, a log line every "
            f"{run.log_every}{_words(run.watch)}: give positive numbers"
        )
    # Placed as numbers: JAX puts no key on the devices of other processes.
    key = jax.random.wrap_key_data(jax.device_put(jax.random.key_data(key), replicated(mesh)))
    at_once = math.gcd(save_every, *run.intervals) if cache else 1
    with (
        one_line_if_others_end(),
        locked(run.workdir, "--workdir"),
        Interrupts() as interrupts,
        Checkpoints(run.workdir) as checkpoints,
    ):
        if resumed := checkpoints.resume(state, run.config):
            state = resumed
            console.print(f"{run.title}: resumes at step {int(state.step)} of {num_steps}")
        step = int(state.step)
        saved = step
        # Several processes agree only after a dispatch; one that left now would block the others.
        if interrupts.signal and jax.process_count() == 1:
            raise _interrupted(interrupts, step, checkpoints)
        pending = None
        stop = False
        divergence = Divergence(batches, run.workdir)
        clock = SaveClock(run.save_every_s)
        with RunLog(
            run.workdir,
            title=run.title,
            num_steps=num_steps,
            recordings=batches.recordings,
            config=run.config,
            first_step=step,
        ) as log:
            watching = run.watch and Watching(run.watch, num_steps, log.lines, interrupts.breakable)
            log.complete(step, watching and watching.due(state, step))
            stacks = batches.between(step, num_steps, at_once=at_once)
            for stack in log.clock.timed(interrupts.awaited(stacks)):
                stack = place(stack, mesh)
                state, metrics = step_fn(state, stack, key, cache and cache.signals)
                if pending and pending[0] % run.log_every == 0:
                    divergence.check()
                    log.write(*pending)
                step += stack_length(stack)
                pending = (step, divergence.add(step, metrics))
                save = step % save_every == 0 or step == num_steps
                measure = watching and watching.due(state, step)
                if save or measure:
                    divergence.check()
                    log.write(*pending, measure)
                    pending = None
                stop = interrupts.reached()
                if save or clock.is_due():
                    pending = _save(checkpoints, state, run, log, divergence, pending)
                    saved = step
                    clock.restart()
                if stop:
                    break
            if saved < step:  # a signal, or a recording that cannot be read
                _save(checkpoints, state, run, log, divergence, pending)
    if interrupts.failure:
        raise interrupts.failure
    # Also after the last step: the command must not go on to its next part.
    if interrupts.signal or stop:
        raise _interrupted(interrupts, step, checkpoints)
    return state, checkpoints.path(num_steps)


def _save(
    checkpoints: Checkpoints,
    state: TrainState,
    run: Run,
    log: RunLog,
    divergence: Divergence,
    pending: tuple[int, dict] | None,
) -> tuple[int, dict] | None:
    """Saves a state, after its log line if that is due; returns the line that is not."""
    divergence.check()
    if pending and pending[0] % run.log_every == 0:  # a resumed run would not write it
        log.write(*pending)
        pending = None
    with log.clock.saving():
        checkpoints.save(state, run.config, run.seen)
    return pending


def _words(watch: Watch | None) -> str:
    return f" and a measurement every {watch.every}" if watch else ""


def _interrupted(interrupts: Interrupts, step: int, checkpoints: Checkpoints) -> Interrupted:
    """Returns the error for a run that stops after `step` steps, which are saved."""
    number = interrupts.signal or signal.SIGTERM  # another process got the signal
    if not step:
        return Interrupted(number, "stopped before the first step; nothing to save")
    return Interrupted(
        number,
        f"stopped at step {step}; checkpoint {checkpoints.path(step)}; the same command continues "
        f"there",
    )
