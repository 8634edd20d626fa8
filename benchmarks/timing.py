"""Times on a machine that others use too: contenders take turns, and each one's best round counts."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator


def cpu_seconds(contenders: dict[str, Callable[[], int]], *, rounds: int) -> dict[str, float]:
    """CPU seconds an item of each contender, over all threads of this process.

    Args:
      contenders: name -> a function that does some work and returns the number of its items.
      rounds: turns of each, A B A B; the cheapest counts, since others on the machine can only add to it.
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
    """Keeps this thread, and those that it starts, on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
