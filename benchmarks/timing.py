"""Timing on a shared machine: contenders take turns, and the best round of each counts."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator


def cpu_seconds(contenders: dict[str, Callable[[], int]], *, rounds: int) -> dict[str, float]:
    """Measures the CPU seconds per item of each contender, over all threads of this process.

    Args:
      contenders: by name, a function that does some work and returns its number of items.
      rounds: turns of each contender, A B A B. The cheapest turn counts, because other processes on
        the machine can only add time.
    """
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, work in contenders.items():
            start = time.process_time()
            items = work()
            best[name] = min(best[name], (time.process_time() - start) / items)
    return best


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Restricts this thread, and those that it starts, to one core if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
