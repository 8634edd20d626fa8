"""Parts that all commands share: parsing, one-line errors, devices, progress, output folders."""

import contextlib
import dataclasses
import errno
import io
import itertools
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro

from ecgjax.errors import InputError, Interrupted
from ecgjax.launch.malloc import keep_freed_memory

Arguments = TypeVar("Arguments")

WRONG_INPUT = 2
"""Exit status after an input error."""
SIGNAL = 128
"""Exit status after a signal: this plus the signal's number, as a shell reports it."""
ENDING_S = 10.0
"""Seconds that threads and other processes have after the last line."""
_STOPPED = "interrupted; the same command goes on from what is finished"
_AGAIN_S = 0.05
"""Seconds after which a signal is raised again that Python has dropped."""
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "permit that"),
    errno.EIO: "check the disk",
}
"""Remedies of errors of files that are no fault of the program."""


def run(main: Callable[[], None]) -> None:
    """Runs the `main` of a command.

    Wrong input ends the process with one line on standard error and status 2, and so does a full
    disk. A signal ends it with one line and 128 plus the number of the signal (130 for Ctrl-C, 143
    for SIGTERM).
    """
    keep_freed_memory()
    try:
        with _signals_as_errors():
            main()
    except InputError as error:
        _exit(f"error: {error}", status=WRONG_INPUT)
    except Interrupted as stop:
        _exit(str(stop), status=SIGNAL + stop.signal)
    except KeyboardInterrupt:
        _exit(_STOPPED, status=SIGNAL + signal.SIGINT)
    except BrokenPipeError:  # the reader of `| head` has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(SIGNAL + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        file = f"{error.filename}: " if error.filename else ""
        remedy = f"{_REMEDIES[error.errno]} and give the same command again"
        words = f"error: {file}{error.strerror}; {remedy}, which goes on from what is finished"
        _exit(words, status=WRONG_INPUT)


@contextlib.contextmanager
def _signals_as_errors() -> Iterator[None]:
    """Makes SIGTERM an error that unwinds the program as SIGINT (Ctrl-C) does.

    Training has handlers of its own, see `ecgjax.train.interrupts`. An ignored signal stays
    ignored. Python drops what is raised in a finalizer: the error is then raised again, and at the
    latest when the command has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()
    arrived: list[int] = []
    show_dropped = sys.unraisablehook

    def stop(number: int, _frame: object) -> None:
        if os.getpid() != process:  # a fork, which has nothing to unwind
            os._exit(SIGNAL + number)
        arrived[:] = [number]
        raise Interrupted(number, _STOPPED)

    def stop_again(*_: object) -> None:
        raise Interrupted(arrived[0], _STOPPED)

    def notice_dropped(report: Any) -> None:
        if report.exc_type is Interrupted and arrived:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            show_dropped(report)

    earlier: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            earlier[number] = signal.signal(number, stop)
    earlier[signal.SIGALRM] = signal.signal(signal.SIGALRM, stop_again)
    sys.unraisablehook = notice_dropped
    try:
        yield
        if arrived:
            raise Interrupted(arrived[0], _STOPPED)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = show_dropped
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _exit(line: str, *, status: int) -> None:
    print(line, file=sys.stderr)
    threading.Thread(target=_end_at_last, args=(status,), daemon=True).start()
    sys.exit(status)


def _end_at_last(status: int) -> None:
    """Ends a process that does not end: Python waits for all threads, also for one that hangs."""
    time.sleep(ENDING_S)
    if getattr(threading, "_SHUTTING_DOWN", False):  # else somebody has caught the exit
        sys.stdout.flush()
        os._exit(status)


def parse(arguments: type[Arguments], **settings) -> Arguments:
    """Parses the command line with `tyro.cli`.

    Args:
      arguments: the dataclass of the command's options.
      settings: further arguments of `tyro.cli`.

    Raises:
      InputError: the command line is wrong; one line, as for any other input.
    """
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(arguments, prog=_program(), **settings)
    except SystemExit as end:
        if not end.code:  # --help
            raise
    text = re.sub(r"\x1b\[[0-9;]*m", "", box.getvalue())
    rows = [row.strip(" │|") for row in text.splitlines()[1:-1]]
    message = itertools.takewhile(lambda row: row.strip("─-"), rows)  # the rest is about --help
    raise InputError(f"{' '.join(message)} (--help explains the options)")


def _program() -> str:
    """Returns the command as the user typed it."""
    module = sys.modules["__main__"].__spec__
    if module and module.name.startswith("ecgjax.launch."):
        return f"python -m {module.name}"
    return sys.argv[0]


def last_choice(option: str, names: Iterable[str], default: str) -> str:
    """Returns the name given to an option whose value decides which other options exist.

    The parser takes the last of several occurrences, and so does this function: a job script may
    have a default and `"$@"` behind it. An unknown name is left to the parser, which reports it.
    """
    value = last_value(option)
    return value if value in names else default


def last_value(option: str) -> str:
    """Returns the last value given to an option, "" if there is none."""
    words = [part for word in sys.argv[1:] for part in word.split("=", 1)]
    values = [value for word, value in itertools.pairwise(words) if word == option]
    return values[-1] if values else ""


def pretraining_defaults() -> dict[str, Any]:
    """Returns what --preset and --objective choose: both names and the default settings.

    With --init, the encoder and its preprocessing are the checkpoint's, unless a preset has others.
    """
    from ecgjax.objectives import OBJECTIVES
    from ecgjax.workflows.presets import PRESETS
    from ecgjax.workflows.pretrain import Pretraining
    from ecgjax.workflows.start_weights import expected_input

    preset = last_choice("--preset", PRESETS, "")
    settings = PRESETS[preset] if preset else Pretraining()
    own = next(name for name, kind in OBJECTIVES.items() if kind is type(settings.objective))
    objective = last_choice("--objective", OBJECTIVES, own)
    if objective != own:
        settings = dataclasses.replace(settings, objective=OBJECTIVES[objective]())
    init = last_value("--init")
    workdir = last_value("--workdir")
    if init and not preset and (start := expected_input(init, Path(workdir) if workdir else None)):
        settings = dataclasses.replace(settings, encoder=start[0], preprocessing=start[1])
    return {"preset": preset or None, "objective": objective, "settings": settings}


def check_choice(option: str, name: str, kinds: Mapping[str, type], settings: object) -> None:
    """Raises InputError unless the settings belong to the name that the parser read."""
    if type(settings) is not kinds[name]:
        problem = f"{option} {name}: the other options are those of {type(settings).__name__}"
        raise InputError(f"{problem}; give {option} once")


def writable_folder(folder: Path, option: str) -> Path:
    """Makes a folder and checks that files can be written to it; called before any work.

    Raises:
      InputError: it cannot be made or written to. The message names `option`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        problem = f"{folder}: no files can be written to it ({error.strerror})"
        raise InputError(f"{problem}; give another folder as {option}") from error


def note(line: str) -> None:
    """Prints a line for the user on standard error, which leaves standard output to results."""
    print(line, file=sys.stderr)


def log_devices() -> None:
    """Prints the devices that JAX uses, on standard error."""
    import jax

    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    devices = f"{jax.device_count()} x {kinds} ({jax.default_backend()})"
    count = jax.process_count()
    process = f", process {jax.process_index()} of {count}" if count > 1 else ""
    print(f"jax {jax.__version__}: {devices}{process}", file=sys.stderr)


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, so that the next start is faster."""
    import jax

    from ecgjax.remote import cache

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache("compiled")))


class CountedProgress:
    """Progress of counted items: a bar on a terminal, plain lines elsewhere.

    Called as progress(done, total).
    """

    def __init__(self, items: str):
        import rich.console
        import rich.progress

        columns = rich.progress.Progress.get_default_columns()
        console = rich.console.Console(stderr=True)
        # Not rich's is_terminal: Jupyter sets FORCE_COLOR, and bars would flood the notebook.
        self._bar = rich.progress.Progress(
            *columns,
            rich.progress.MofNCompleteColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(items, total=None)
        self._items = items
        self._started = time.monotonic()
        self.total = 0
        """Number of items; 0 before the first call."""

    def __call__(self, done: int, total: int) -> None:
        self.total = total
        self._bar.update(self._task, completed=done, total=total)
        if self._bar.disable:
            passed_s = time.monotonic() - self._started
            print(f"{done:,} of {total:,} {self._items}, {passed_s:.0f} s", file=sys.stderr)

    def __enter__(self) -> "CountedProgress":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()
