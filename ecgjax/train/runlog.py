"""The log of a run: metrics.jsonl and TensorBoard events in the workdir, progress on the screen."""

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import jax
import rich.console
import rich.progress
import tensorboardX

from ecgjax.errors import InputError

# Progress goes to standard error, so that standard output holds results alone.
console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


SPEED = ("ecg_per_s", "waiting_for_data")
"""The figures of a log line that tell how fast it went: recordings a second, and the share of time without a batch."""
COLLAPSED = 0.01
"""Of `embedding_std`: below, all recordings look alike to the encoder. An untrained one is at 0.05 or more."""
Batch = TypeVar("Batch")


class RunLog:
    """Writes a run's metrics; a resumed run's log reads like an uninterrupted one's. One process of several writes."""

    def __init__(
        self, workdir: Path, *, title: str, num_steps: int, recordings: int, first_step: int = 0
    ):
        """
        Args:
          workdir: where metrics.jsonl and events go; entries from `first_step` on are dropped, for they are done again.
          title: what is being trained, for the screen.
          num_steps: steps of the whole run.
          recordings: of a step, for the speed.
          first_step: the step at which this process starts.
        """
        self._title, self._num_steps, self._recordings = title, num_steps, recordings
        self._since, self._since_step, self._waited_s = time.perf_counter(), first_step, 0.0
        self._writes, self._bar, self._warned = jax.process_index() == 0, None, False
        if not self._writes:
            return
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        kept = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", buffering=1)
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step or None
        )
        if console.is_terminal:
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task(
                title, total=num_steps, completed=first_step, note="compiling"
            )

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the time that the loop waits for them is logged as a share of all its time."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self._waited_s += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def write(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Logs the metrics after `step` steps.

        Raises:
          InputError: the loss is not finite; training has diverged.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(values["loss"]):
            raise InputError(
                f"step {step}: the loss is {values['loss']}; lower --optimizer.learning-rate, or look "
                f"for absurd amplitudes in the data"
            )
        speed = self._speed(step)
        if not self._writes:
            return
        line = {"step": step, **{name: round(value, 6) for name, value in values.items()}, **speed}
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            self._board.add_scalar(name, value, step)
        if values.get("embedding_std", 1.0) < COLLAPSED and not self._warned:
            self._warned = True
            console.print(
                f"WARNING: step {step}: the embeddings have collapsed (embedding_std {values['embedding_std']:.4f}); "
                f"try a lower --optimizer.learning-rate or other settings of the method"
            )
        note = f"loss {values['loss']:.3f}  {speed['ecg_per_s']:.0f} ECG/s"
        if self._bar:
            self._bar.update(self._task, completed=step, note=note)
        else:
            print(
                f"{self._title}: step {step}/{self._num_steps}  {note}", file=sys.stderr, flush=True
            )

    def _speed(self, step: int) -> dict[str, float]:
        """Since the line before: `SPEED`'s figures."""
        now = time.perf_counter()
        passed_s, steps, waited_s = now - self._since, step - self._since_step, self._waited_s
        self._since, self._since_step, self._waited_s = now, step, 0.0
        figures = self._recordings * steps / passed_s, waited_s / passed_s
        return {name: round(figure, 4) for name, figure in zip(SPEED, figures, strict=True)}

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()
        if self._writes:
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
