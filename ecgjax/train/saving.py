"""Saving that never hangs: what a full disk or a folder without permission does to a save.

Orbax writes with threads that wait for one another, for minutes even when one of them has failed.
"""

import contextvars
import errno
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax

from ecgjax.errors import InputError, first_line

PROBE_EVERY_S = 4.0
"""Seconds between looks at the folder while a save runs."""
FAILED_PROBES = 4
"""Number of looks at a folder that takes no file after which a save is given up."""


class SaveClock:
    """Tells when the next checkpoint is due by the clock."""

    def __init__(self, every_s: float | None):
        """
        Args:
          every_s: seconds between checkpoints; None, or several processes: never due.
        """
        self._every_s = every_s if jax.process_count() == 1 else None
        self.restart()

    def restart(self) -> None:
        """Counts from now."""
        self._since_s = time.monotonic()

    def is_due(self) -> bool:
        """Tells whether a checkpoint is due."""
        return self._every_s is not None and time.monotonic() - self._since_s >= self._every_s


class SaveFailed(InputError):
    """A checkpoint that could not be written."""


def save_or_fail(work: Callable[[], object], folder: Path, needed_bytes: int, remedy: str) -> None:
    """Does the work of a save, in a thread that may be left behind.

    A slow save is waited for as long as its folder takes files.

    Args:
      work: writes into the folder.
      folder: an existing folder.
      needed_bytes: size of what is written.
      remedy: last part of the message: what is intact, and what to do.

    Raises:
      SaveFailed: the folder takes no files, has no room, or the work failed.
    """
    outcome: list[Exception | None] = []

    def attempt() -> None:
        try:
            work()
            outcome.append(None)
        except Exception as error:  # Orbax and its stores raise a dozen types for a full disk
            outcome.append(error)

    problem = _problem(folder, needed_bytes)
    if not problem:
        context = contextvars.copy_context()  # Orbax keeps its settings there
        thread = threading.Thread(target=context.run, args=(attempt,), daemon=True)
        speak = _silence()
        thread.start()
        problem = _wait(thread, folder)
        if not problem and outcome[0]:
            problem = _reason(outcome[0])
        if not problem:
            speak()
    if problem:
        sizes = f"{_megabytes(needed_bytes)} needed, {_megabytes(_free(folder))} free"
        cause = outcome[0] if outcome else None
        raise SaveFailed(f"{folder}: cannot be saved: {problem} ({sizes}); {remedy}") from cause


def _silence() -> Callable[[], None]:
    """Keeps Orbax's threads from printing; returns the function that ends the silence.

    After a failed save they print hundreds of lines, also after the message of the command. They
    are left silent then.
    """
    levels = {name: logging.getLogger(name).level for name in ("absl", "asyncio")}
    hooks = (threading.excepthook, sys.unraisablehook)
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None

    def speak() -> None:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        threading.excepthook, sys.unraisablehook = hooks

    return speak


def _wait(thread: threading.Thread, folder: Path) -> str:
    """Waits for the end of a save; returns the problem of its folder if that lasts, or ""."""
    failed = 0
    while thread.is_alive():
        thread.join(PROBE_EVERY_S)
        problem = _problem(folder, 0) if thread.is_alive() else ""
        failed = failed + 1 if problem else 0
        if failed == FAILED_PROBES:
            return problem
    return ""


def _problem(folder: Path, needed_bytes: int) -> str:
    """Returns why a folder takes no files of a size, or ""."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
        if _free(folder) < needed_bytes:
            raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        return str(error.strerror)
    return ""


def _reason(error: Exception) -> str:
    """Returns the words of the system for an error, if it is behind it."""
    found: BaseException | None = error
    while found:
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG):
            if os.strerror(code) in str(found):
                return os.strerror(code)
        found = found.__cause__ or found.__context__
    return first_line(error)


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
