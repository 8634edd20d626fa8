"""The log of a run: metrics.jsonl and TensorBoard events in the workdir, progress on the screen."""

import json
import math
import sys
import time
from pathlib import Path

import jax
import rich.console
import rich.progress
import tensorboardX

from ecgjax.signals import InputError

# Progress goes to standard error, so that standard output holds results alone.
console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


class RunLog:
    """Writes a run's metrics; a resumed run's log reads like an uninterrupted one's."""

    def __init__(self, workdir: Path, *, title: str, num_steps: int, first_step: int = 0):
        """
        Args:
          workdir: where metrics.jsonl and events go; entries from `first_step` on are dropped, for they are done again.
          title: what is being trained, for the screen.
          num_steps: steps of the whole run.
          first_step: the step at which this process starts.
        """
        workdir.mkdir(parents=True, exist_ok=True)
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", buffering=1)
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step or None)
        self._title, self._num_steps = title, num_steps
        self._since, self._since_step = time.perf_counter(), first_step
        self._bar = _progress_bar() if console.is_terminal else None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(title, total=num_steps, completed=first_step, note="compiling")

    def write(self, step: int, metrics: dict[str, jax.Array], recordings: int) -> None:
        """Logs the metrics after `step` steps, of `recordings` recordings each.

        Raises:
          InputError: the loss is not finite; training has diverged.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = time.perf_counter()
        speed = recordings * (step - self._since_step) / (now - self._since)
        self._since, self._since_step = now, step
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"step {step}: the loss is {values['loss']}; lower --optimizer.learning-rate, or look "
                f"for absurd amplitudes in the data"
            )
        line = {
            "step": step,
            **{name: round(value, 6) for name, value in values.items()},
            "ecg_per_s": round(speed, 1),
        }
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            self._board.add_scalar(name, value, step)
        note = f"loss {values['loss']:.3f}  {speed:.0f} ECG/s"
        if self._bar:
            self._bar.update(self._task, completed=step, note=note)
        else:
            print(f"{self._title}: step {step}/{self._num_steps}  {note}", file=sys.stderr, flush=True)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()
        self._board.close()
        self._file.close()


def read_metrics(workdir: Path) -> list[dict]:
    """The logged lines of a run, oldest first; a line cut short by a killed process is left out."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _progress_bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[note]}"),
        rich.progress.TimeRemainingColumn(),
        console=console,
    )
