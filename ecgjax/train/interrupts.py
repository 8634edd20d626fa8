"""SIGINT (Ctrl-C) and SIGTERM during training: a request to stop after the current dispatch."""

import os
import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

_NOTICE = b"\nstopping after this step; a second signal stops at once\n"


class Interrupts:
    """Context manager that handles SIGINT and SIGTERM in the main thread.

    The first signal is remembered; a second one has its usual effect. An ignored signal stays
    ignored.

    Several processes must stop at the same step, because all of them save the checkpoint. JAX
    catches SIGTERM in each of them and agrees on the step; SIGINT is passed on as SIGTERM.

    Attributes:
      signal: the number of the signal that arrived, or None.
    """

    def __init__(self):
        self.signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self._several = jax.process_count() > 1
        self._dispatches = 0

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT,) if self._several else (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def reached(self) -> bool:
        """Tells whether to stop now. Call it once after each dispatch; all processes agree."""
        self._dispatches += 1
        if not self._several:
            return self.signal is not None
        # Dispatches, not steps: JAX waits for the next number after the largest one.
        config: Any = jax.config
        return (
            config.jax_enable_preemption_service
            and multihost_utils.reached_preemption_sync_point(self._dispatches)
        )

    def _handle(self, number: int, _frame) -> None:
        self.signal = number
        self._restore()
        os.write(2, _NOTICE)  # not print: the main program may be printing right now
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            # None stands for a handler that was not installed by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers = {}
