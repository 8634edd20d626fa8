"""The commands: one file for each, and the parts that they share in `command`.

`python -m ecgjax.launch.COMMAND` imports JAX for seconds before `command.run` handles signals.
Until then SIGINT and SIGTERM end the process without a traceback; there is nothing to save.
"""

import os
import signal
import sys
from types import FrameType


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


if sys.argv[:1] == ["-m"]:  # Python's name for a module that it is about to run
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(_number, _end)
