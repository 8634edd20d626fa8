"""The log of a run: metrics.jsonl and TensorBoard events in the workdir, progress on the screen."""

import datetime
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import rich.console
import rich.progress
import tensorboardX

from ecgjax.errors import InputError
from ecgjax.train.metrics_file import METRICS, RUN, read_lines, replace_text

# Progress goes to standard error, so that standard output holds results alone.
console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


TIMING = ("time", "elapsed_s", "ecg_per_s", "waiting_for_data")
"""Entries of a log line that differ between equal runs: date and time (ISO 8601, UTC); seconds
since the run began, without those in which it was stopped; recordings per second; and the share of
time without data. Measurements do not count for the last two."""
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

    Attributes:
      lines: log lines of the steps before, oldest first; none in processes that do not write.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        title: str,
        num_steps: int,
        recordings: int,
        config: dict | None = None,
        first_step: int = 0,
    ):
        """
        Args:
          workdir: folder of the log; entries after `first_step` are dropped, because those steps
            are done again.
          title: name of the run on the screen.
          num_steps: steps of the whole run.
          recordings: recordings of a step, for the speed.
          config: the run's config, for run.json.
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
        self.lines: list[dict] = []
        if self._writes:
            self._open(workdir, config, first_step)
        earlier_s = self.lines[-1].get("elapsed_s", 0.0) if self.lines else 0.0
        self._started_s = self._since_s - earlier_s

    def _open(self, workdir: Path, config: dict | None, first_step: int) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        run = {"title": self._title, "num_steps": self._num_steps, "config": config}
        replace_text(workdir / RUN, json.dumps(run, indent=1) + "\n")
        path = workdir / METRICS
        self.lines = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        replace_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self._file = path.open("a", buffering=1)
        # TensorBoard hides events from `purge_step` on, which is the first step that is done again.
        purged = first_step + 1 if first_step else None
        self._board = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=purged)
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

    def write(
        self,
        step: int,
        metrics: Mapping[str, jax.Array],
        measure: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Logs the metrics after `step` steps.

        Args:
          step: number of steps done.
          metrics: metrics of the last step.
          measure: takes further measurements after this step, figures and pictures; see
            `ecgjax.train.watch`. Every process calls it, one writes.

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
        if self._writes:
            self._show(step, f"loss {values['loss']:.3f}  {speed['ecg_per_s']:.0f} ECG/s")
        measured = measure() if measure else {}
        if not self._writes:
            return
        pictures = {name: part for name, part in measured.items() if isinstance(part, np.ndarray)}
        figures = {name: part for name, part in measured.items() if name not in pictures}
        now_s = time.perf_counter()
        clock = {"time": _utc_now(), "elapsed_s": round(now_s - self._started_s, 2)}
        self._since_s = now_s if measure else self._since_s
        self._append(step, clock, {**values, **figures}, speed)
        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")
        self._warn_of_collapse(step, values.get("embedding_std", 1.0))
        if figures:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            console.print(f"{self._title}: step {step}/{self._num_steps}  {shown}")

    def _append(self, step: int, clock: dict, values: dict, speed: dict) -> None:
        """Writes a line of metrics.jsonl and the same figures for TensorBoard."""
        rounded = {name: _seven_digits(value) for name, value in values.items()}
        line = {"step": step, **clock, **rounded, **speed}
        self._file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

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
        """Returns recordings per second and the share of time without data, since the last line."""
        now_s = time.perf_counter()
        passed_s = now_s - self._since_s
        recordings = self._recordings * (step - self._since_step)
        speed = {"ecg_per_s": recordings / passed_s, "waiting_for_data": self._waited_s / passed_s}
        self._since_s = now_s
        self._since_step = step
        self._waited_s = 0.0
        return {name: round(figure, 4) for name, figure in speed.items()}

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()
        if self._writes:
            self._board.close()
            self._file.close()


def read_metrics(workdir: Path) -> list[dict]:
    """Reads the log lines of a run, oldest first. Damaged lines are left out with a warning.

    A last line that a killed process cut short is left out without a warning.
    """
    lines, damaged = read_lines(workdir)
    if damaged:
        rows = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        console.print(
            f"WARNING: {workdir / METRICS}: {len(damaged)} damaged lines are left out ({rows})"
        )
    return lines


def _utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _seven_digits(value: float) -> float | None:
    """Rounds to the precision of float32; JSON has no NaN and no infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _progress_bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[note]}"),
        rich.progress.TimeRemainingColumn(),
        console=console,
    )
