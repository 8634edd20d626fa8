"""SIGINT (Ctrl-C) and SIGTERM during training: a request to save a checkpoint and to stop."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from ecgjax.errors import InputError

_NOTICE = b"\nstopping after this step; a second signal stops at once\n"
COMPILING_S = 20.0
"""Seconds that the first step of a process may take to its end after a signal. A scheduler kills
after 30 s; before the first step there is nothing to lose."""
_REPEAT_S = 0.5
"""Seconds after which work that did not notice a signal is broken off again."""
Result = TypeVar("Result")
Other = TypeVar("Other")
Batch = TypeVar("Batch")


class _Break(BaseException):
    """A signal arrived in work that may be left unfinished."""


class Interrupts:
    """Context manager that handles SIGINT and SIGTERM in the main thread.

    The first signal is remembered; a second one has its usual effect. An ignored signal stays
    ignored. Waiting for data and measurements end at once, a step and a save are finished. Only a
    compilation may take too long for that: in a command it is left after `COMPILING_S`.

    Several processes must stop at the same step, because all of them save the checkpoint. JAX
    catches SIGTERM in each of them and agrees on the step; SIGINT is passed on as SIGTERM.

    Attributes:
      signal: the number of the signal that arrived, or None.
      failure: the error that ended the batches, or None.
    """

    def __init__(self):
        self.signal: int | None = None
        self.failure: InputError | None = None
        self._handlers: dict[int, Any] = {}
        self._several = jax.process_count() > 1
        self._dispatches = 0
        self._breaks = False
        self._terminate: Any = None
        self._earlier_wakeup = -1
        self._earlier_alarm: Any = None
        self._earlier_hook = sys.unraisablehook
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is not threading.main_thread():
            return self
        self._terminate = signal.getsignal(signal.SIGTERM)
        for number in (signal.SIGINT,) if self._several else (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._handle)
        if not self._several:
            self._watch_compilation()
            self._earlier_hook = sys.unraisablehook
            sys.unraisablehook = self._show_unraisable
        return self

    def __exit__(self, *_) -> None:
        self._restore()
        if self._several and threading.current_thread() is threading.main_thread():
            # JAX has caught it until now, for the last time.
            signal.signal(signal.SIGTERM, self._terminate or signal.SIG_DFL)
        if self._sockets:
            sys.unraisablehook = self._earlier_hook
            signal.set_wakeup_fd(self._earlier_wakeup)
            self._sockets[1].close()  # ends the thread

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

    def breakable(self, work: Callable[[], Result], otherwise: Other) -> Result | Other:
        """Returns what `work` returns, or `otherwise` if a signal has arrived or arrives in it.

        With several processes the work is always finished.
        """
        if self._several:
            return work()
        try:
            self._breaks = True
            try:
                return otherwise if self.signal else work()
            finally:
                self._breaks = False
        except _Break:
            return otherwise
        finally:
            self._breaks = False
            self._end_alarm()

    def awaited(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yields the batches; a signal ends the waiting for one.

        A recording that cannot be read ends them as well, so that the steps before can be saved.
        """
        try:
            while (batch := self.breakable(lambda: next(batches, None), None)) is not None:
                yield batch
        except InputError as error:
            if self._several:  # the others wait in the next step and cannot save
                raise
            self.failure = error

    def _handle(self, number: int, _frame) -> None:
        self.signal = number
        self._restore()
        with contextlib.suppress(OSError):
            os.write(2, _NOTICE)  # not print: the main program may be printing right now
        if self._several:
            signal.raise_signal(signal.SIGTERM)
        elif self._breaks:
            self._earlier_alarm = signal.signal(signal.SIGALRM, self._break)
            self._break()

    def _break(self, *_) -> None:
        """Breaks the work off, and again later: Python drops what is raised in a finalizer."""
        if self._breaks:
            signal.setitimer(signal.ITIMER_REAL, _REPEAT_S)
            raise _Break

    def _end_alarm(self) -> None:
        if self._earlier_alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._earlier_alarm)
            self._earlier_alarm = None

    def _show_unraisable(self, dropped: Any) -> None:
        if dropped.exc_type is not _Break:
            self._earlier_hook(dropped)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            # None stands for a handler that was not installed by Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._handlers = {}

    def _watch_compilation(self) -> None:
        """Starts a thread that hears of signals while the main thread compiles.

        A handler written in Python runs only between two instructions of Python.
        """
        # In a notebook Ctrl-C must not end the process.
        ends = {
            number
            for number, earlier in self._handlers.items()
            if earlier is not signal.default_int_handler
        }
        self._sockets = socket.socketpair()
        self._sockets[1].setblocking(False)
        self._earlier_wakeup = signal.set_wakeup_fd(
            self._sockets[1].fileno(), warn_on_full_buffer=False
        )
        threading.Thread(target=self._hear, args=(self._sockets[0], ends), daemon=True).start()

    def _hear(self, heard: socket.socket, ends: set[int]) -> None:
        with heard:
            while (content := heard.recv(1)) and content[0] not in ends:
                pass
            if not content:
                return
            number = content[0]
            until_s = time.monotonic() + COMPILING_S
            heard.settimeout(0.1)
            while time.monotonic() < until_s and not self._dispatches:
                with contextlib.suppress(TimeoutError):
                    if not heard.recv(1):
                        return
            if not self._dispatches:
                os.write(2, b"stopped before the first step of this process; nothing is lost\n")
                os._exit(128 + number)
