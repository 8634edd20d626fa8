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
"""Speed figures of a log line: recordings per second, and the share of time without data."""
COLLAPSED = 0.01
"""Value of `embedding_std` below which all recordings look alike to the encoder. An untrained
encoder has 0.05 or more."""
Batch = TypeVar("Batch")


def on_terminal() -> bool:
    """Tells whether standard error is a terminal, where a progress bar can be drawn.

    Not rich's `is_terminal`: it is also true if FORCE_COLOR is set, as in Jupyter, and every update
    of the bar would then be a new line of the notebook.
    """
    return sys.stderr.isatty()


class RunLog:
    """Writes the metrics of a run. With several processes, only the first one writes.

    The log of a resumed run reads like that of an uninterrupted one.
    """

    def __init__(
        self, workdir: Path, *, title: str, num_steps: int, recordings: int, first_step: int = 0
    ):
        """
        Args:
          workdir: folder of metrics.jsonl and the events; entries after `first_step` are dropped,
            because those steps are done again.
          title: name of the run on the screen.
          num_steps: steps of the whole run.
          recordings: recordings of a step, for the speed.
          first_step: the step at which this process starts.
        """
        self._title = title
        self._num_steps = num_steps
        self._recordings = recordings
        self._since_s = time.perf_counter()
        self._since_step = first_step
        self._waited_s = 0.0
        self._warned = False
        self._bar = None
        self._writes = jax.process_index() == 0
        if self._writes:
            self._open(workdir, first_step)

    def _open(self, workdir: Path, first_step: int) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / "metrics.jsonl"
        earlier = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        path.write_text("".join(json.dumps(line) + "\n" for line in earlier))
        self._file = path.open("a", buffering=1)
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step or None
        )
        if on_terminal():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=self._num_steps, completed=first_step, note="compiling"
            )

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields the batches and measures how long the loop waits for them."""
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
                f"step {step}: the loss is {values['loss']}; lower --optimizer.learning-rate, or "
                f"look for absurd amplitudes in the data"
            )
        speed = self._speed(step)
        if not self._writes:
            return
        line = {"step": step, **{name: round(value, 6) for name, value in values.items()}, **speed}
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            self._board.add_scalar(name, value, step)
        self._warn_of_collapse(step, values.get("embedding_std", 1.0))
        self._show(step, f"loss {values['loss']:.3f}  {speed['ecg_per_s']:.0f} ECG/s")

    def _warn_of_collapse(self, step: int, embedding_std: float) -> None:
        if embedding_std < COLLAPSED and not self._warned:
            self._warned = True
            console.print(
                f"WARNING: step {step}: the embeddings have collapsed (embedding_std "
                f"{embedding_std:.4f}); try a lower --optimizer.learning-rate or other settings of "
                f"the method"
            )

    def _show(self, step: int, note: str) -> None:
        if self._bar:
            self._bar.update(self._task, completed=step, note=note)
        else:
            line = f"{self._title}: step {step}/{self._num_steps}  {note}"
            print(line, file=sys.stderr, flush=True)

    def _speed(self, step: int) -> dict[str, float]:
        """Returns the figures of `SPEED` since the last log line."""
        now_s = time.perf_counter()
        passed_s = now_s - self._since_s
        recordings = self._recordings * (step - self._since_step)
        figures = (recordings / passed_s, self._waited_s / passed_s)
        self._since_s = now_s
        self._since_step = step
        self._waited_s = 0.0
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
    """Reads the log lines of a run, oldest first; skips a line that a killed process cut short."""
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
