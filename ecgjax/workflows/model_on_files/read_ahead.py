"""Reading of recordings in a thread, or in several processes, while the device computes."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from ecgjax.errors import InputError
from tfds_builders.raw_files.samples import Chunk, Samples, Unit


class Readers:
    """One thread for what is quickly read, and worker processes, started when they are needed."""

    def __init__(self, workers: int):
        self.workers = workers
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._processes: concurrent.futures.ProcessPoolExecutor | None = None

    def submit(self, chunk: Chunk, in_processes: bool) -> "concurrent.futures.Future[Samples]":
        """Begins to read a chunk."""
        if self.workers == 1 or not in_processes:
            return self._thread.submit(chunk.read)
        if self._processes is None:
            # spawn: JAX's threads do not survive a fork.
            spawn = multiprocessing.get_context("spawn")
            self._processes = concurrent.futures.ProcessPoolExecutor(
                self.workers, spawn, initializer=_exit_with_parent
            )
        return self._processes.submit(chunk.read)

    def close(self) -> None:
        """Ends the thread and the processes; what was not begun is not read."""
        self._thread.shutdown(cancel_futures=True)
        if self._processes:
            self._processes.shutdown(cancel_futures=True)


def _exit_with_parent() -> None:
    """Exits when the parent process ends; otherwise the worker would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_ahead(units: Sequence[Unit], workers: int) -> Iterator[tuple[int, Chunk, Samples]]:
    """Yields the number of the unit, each of its chunks and their samples, in order.

    Args:
      units: what is to be read.
      workers: processes that read; 1 reads in a thread of this process.

    Raises:
      InputError: a worker process was killed.
    """
    readers = Readers(workers)
    waiting: deque[tuple[int, Chunk, concurrent.futures.Future[Samples]]] = deque()
    try:
        for number, unit in enumerate(units):
            for chunk in unit.chunks():
                waiting.append((number, chunk, readers.submit(chunk, unit.in_processes)))
                if len(waiting) > workers + 1:
                    yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    except concurrent.futures.process.BrokenProcessPool as error:
        problem = "a worker process was killed (out of memory?)"
        remedy = f"run again with fewer --workers than {workers} to continue"
        raise InputError(f"{problem}; {remedy}") from error
    finally:
        with contextlib.suppress(OSError):
            readers.close()


def _result(
    number: int, chunk: Chunk, future: "concurrent.futures.Future[Samples]"
) -> tuple[int, Chunk, Samples]:
    return number, chunk, future.result()
