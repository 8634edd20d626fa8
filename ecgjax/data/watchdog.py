"""Watchdog on reading: a file that does not answer ends the run instead of blocking it for ever.

A network file system that hangs blocks inside the reader's C++ code, which no exception reaches.
So files are read in a thread of their own, which is given up if it stays at one file for too long.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ecgjax.errors import InputError

Result = TypeVar("Result")
VARIABLE = "ECGJAX_READ_LIMIT_S"
"""Environment variable with the limit, in seconds."""
_DEFAULT_S = 300.0


class Reading:
    """Progress of a reading thread."""

    def __init__(self):
        self.file: Path | None = None
        """The file that is read now."""
        self.steps = 0
        """Number of files begun so far."""
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self, file: Path) -> None:
        """Notes that a file is read from now on, which starts the time anew."""
        self.file = file
        self.steps += 1


def watched(read: Callable[[Reading], Result], limit_s: float | None = None) -> Result:
    """Returns what `read` returns, unless one file takes too long.

    Args:
      read: reads files, and calls `begin` of its argument before each.
      limit_s: seconds for one file; None: those of the environment variable, 300 by default.

    Raises:
      InputError: a file took too long; its thread is left to itself.
      Exception: what `read` raises.
    """
    limit_s = _limit_s() if limit_s is None else limit_s
    reading = Reading()

    def run() -> None:
        try:
            reading.result = read(reading)
        except BaseException as error:  # raised again below, in the thread that asked
            reading.error = error

    # daemon: the interpreter does not wait for a thread that hangs.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    steps = 0
    thread.join(limit_s)
    while thread.is_alive():
        if steps == reading.steps:
            raise InputError(
                f"{reading.file}: no answer within {limit_s:g} s; check the disk or the network, "
                f"or give more time: {VARIABLE}={2 * limit_s:g}"
            )
        steps = reading.steps
        thread.join(limit_s)
    if reading.error is not None:
        raise reading.error
    return reading.result


def watched_file(file: Path, read: Callable[[], Result]) -> Result:
    """Returns what `read` returns, which reads one file; see `watched`."""

    def begun(reading: Reading) -> Result:
        reading.begin(file)
        return read()

    return watched(begun)


def _limit_s() -> float:
    text = os.environ.get(VARIABLE, str(_DEFAULT_S))
    try:
        limit_s = float(text)
    except ValueError:
        limit_s = 0.0
    if not 0 < limit_s < threading.TIMEOUT_MAX:  # NaN fails both
        raise InputError(f"{VARIABLE}={text[:40]}: give a number of seconds above 0")
    return limit_s
