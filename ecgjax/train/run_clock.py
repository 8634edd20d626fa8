"""Time of a run: its speed, its waiting for data, and its goodput."""

import contextlib
import datetime
import time
from collections.abc import Iterator, Mapping
from typing import TypeVar

TIMING = ("time", "elapsed_s", "ecg_per_s", "waiting_for_data", "useful_s", "goodput")
"""Entries of a log line that differ between equal runs: date and time (ISO 8601, UTC); seconds
since the run began, without those in which it was stopped; recordings per second; and the share of
time without data. Measurements do not count for the last two. Useful seconds are those of steps
that were kept, without compiling, waiting for data, saving and measuring; goodput is their share of
all seconds since the run was first started, those in which it was stopped included."""
Batch = TypeVar("Batch")


class RunClock:
    """Measures the time of one process of a run."""

    def __init__(self, recordings: int, first_step: int, last: Mapping, first_start_s: float):
        """
        Args:
          recordings: recordings of a step.
          first_step: the step at which this process starts.
          last: the log line of that step, {} if there is none.
          first_start_s: when the run was first started, in seconds since 1970.
        """
        self._recordings = recordings
        self._since_step = first_step
        self._since_s = time.perf_counter()
        self._started_s = self._since_s - last.get("elapsed_s", 0.0)
        self._useful_s = last.get("useful_s", 0.0)
        self._first_start_s = first_start_s
        self._waited_s = 0.0
        self._lost_s = 0.0
        self._compiles = True

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields the batches and measures how long the loop waits for them."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            passed_s = time.perf_counter() - start
            self._waited_s += passed_s
            self._lost_s += passed_s
            if batch is None:
                return
            yield batch
            if self._compiles:
                self._compiles = False
                self._lost_s = time.perf_counter() - self._since_s

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measures the time of a save, which is not useful."""
        start = time.perf_counter()
        yield
        self._lost_s += time.perf_counter() - start

    def speed(self, step: int) -> dict[str, float]:
        """Returns recordings per second and the share of time without data, since the last line."""
        now_s = time.perf_counter()
        passed_s = now_s - self._since_s
        recordings = self._recordings * (step - self._since_step)
        speed = {"ecg_per_s": recordings / passed_s, "waiting_for_data": self._waited_s / passed_s}
        if not self._compiles:
            self._useful_s += max(passed_s - self._lost_s, 0.0)
        self._since_s = now_s
        self._since_step = step
        self._waited_s = 0.0
        self._lost_s = 0.0
        return {name: round(figure, 4) for name, figure in speed.items()}

    def measured(self) -> None:
        """Counts from now: measurements have been taken."""
        self._since_s = time.perf_counter()

    def now(self) -> dict[str, str | float]:
        """Returns the date and the seconds of a log line."""
        date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return {"time": date, "elapsed_s": round(time.perf_counter() - self._started_s, 2)}

    def goodput(self) -> dict[str, float]:
        """Returns the useful seconds and their share of all since the run was first started."""
        share = self._useful_s / max(time.time() - self._first_start_s, 1e-3)
        return {"useful_s": round(self._useful_s, 2), "goodput": round(share, 4)}
