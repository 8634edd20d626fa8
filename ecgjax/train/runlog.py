"""The log of a run: metrics.jsonl and TensorBoard events in the workdir, progress on the screen."""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.progress

from ecgjax.train.log_files import EventFile, GrowingFile, console, warn_of_log
from ecgjax.train.metrics_file import METRICS, RUN, read_lines, read_start
from ecgjax.train.run_clock import TIMING, RunClock
from ecgjax.whole_files import replace_text

COLLAPSED = 0.01
"""Value of `embedding_std` below which all recordings look alike to the encoder. An untrained
encoder has 0.05 or more."""
UNMEASURED = "unmeasured"
"""Entry of a log line whose measurements a signal prevented."""


def on_terminal() -> bool:
    """Tells whether standard error is a terminal, where a progress bar can be drawn.

    Not rich's `is_terminal`: it is also true if FORCE_COLOR is set, as in Jupyter, and every update
    of the bar would then be a new line of the notebook.
    """
    return sys.stderr.isatty()


class RunLog:
    """Writes the metrics of a run. With several processes, only the first one writes.

    A log that cannot be written is no reason to stop: it is written when it can be.

    The log of a resumed run reads like that of an uninterrupted one.

    Attributes:
      lines: log lines of the steps before, oldest first; none in processes that do not write.
      clock: the time of this process.
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
        self._warned = False
        self._bar = None
        self._writes = jax.process_index() == 0
        self.lines: list[dict] = []
        first_start_s = time.time()
        if self._writes:
            first_start_s = self._open(workdir, config, first_step)
        last = self.lines[-1] if self.lines else {}
        self.clock = RunClock(recordings, first_step, last, first_start_s)

    def _open(self, workdir: Path, config: dict | None, first_step: int) -> float:
        """Opens the files; returns when the run was first started, in seconds since 1970."""
        run = {"title": self._title, "num_steps": self._num_steps, "config": config}
        first_start_s = read_start(workdir, run) or time.time()
        run["first_start_s"] = first_start_s
        path = workdir / METRICS
        self.lines = [line for line in read_metrics(workdir) if line["step"] <= first_step]
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            replace_text(workdir / RUN, json.dumps(run, indent=1) + "\n")
            replace_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))
        except OSError as error:
            warn_of_log(path, error)
        self._file = GrowingFile(path)
        # TensorBoard hides events from `purge_step` on, which is the first step that is done again.
        purged = first_step + 1 if first_step else None
        self._board = EventFile(workdir / "tensorboard", purge_step=purged)
        if on_terminal():
            self._bar = _progress_bar()
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=self._num_steps, completed=first_step, note="compiling"
            )
        return first_start_s

    def write(
        self,
        step: int,
        metrics: Mapping[str, Any],
        measure: Callable[[], Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Logs the metrics after `step` steps.

        Args:
          step: number of steps done.
          metrics: metrics of the last step.
          measure: takes further measurements after this step, figures and pictures; see
            `ecgjax.train.watch`. Every process calls it, one writes. None instead of figures: a
            signal arrived; the process that resumes takes them.
        """
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        speed = self.clock.speed(step)
        if self._writes:
            self._show(step, f"loss {values['loss']:.3f}  {speed['ecg_per_s']:.0f} ECG/s")
        measured = measure() if measure else {}
        if not self._writes:
            return
        measured = {UNMEASURED: 1} if measured is None else measured
        pictures = {name: part for name, part in measured.items() if isinstance(part, np.ndarray)}
        figures = {name: part for name, part in measured.items() if name not in pictures}
        self._append(step, {**values, **figures}, speed, pictures)
        if measure:
            self.clock.measured()
        self._warn_of_collapse(step, values.get("embedding_std", 1.0))
        if figures and UNMEASURED not in figures:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
            console.print(f"{self._title}: step {step}/{self._num_steps}  {shown}")

    def complete(self, step: int, measure: Callable[[], Mapping[str, Any] | None] | None) -> None:
        """Takes the measurements that a signal kept from a line of the process before."""
        last = self.lines[-1] if self.lines else {}
        if measure and last.get("step") == step and UNMEASURED in last and "loss" in last:
            known = (*TIMING, "step", UNMEASURED)
            metrics = {key: last[key] for key in last if key not in known}
            # null stands for a figure that was not finite
            finite = {key: math.nan if value is None else value for key, value in metrics.items()}
            self.write(step, finite, measure)

    def _append(
        self, step: int, values: dict, speed: dict, pictures: dict[str, np.ndarray]
    ) -> None:
        """Writes a line of metrics.jsonl and the same figures for TensorBoard."""
        rounded = {name: _seven_digits(value) for name, value in values.items()}
        clock = self.clock
        line = {"step": step, **clock.now(), **rounded, **speed, **clock.goodput()}
        self._file.append((json.dumps(line) + "\n").encode())
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
        self._board.write(step, {**numbers, **pictures})

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
