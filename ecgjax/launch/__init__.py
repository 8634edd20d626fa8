"""The commands: one file for each, and the parts that they share in `command`."""

import os
import signal
import sys
from types import FrameType


def end_on_signals() -> None:
    """Lets SIGINT and SIGTERM end the process at once, while a command is still imported.

    `command.run` has other handlers. An ignored signal stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if sys.argv[:1] == ["-m"]:  # Python's name for a module that it is about to run
    end_on_signals()
