"""The commands: `python -m ecgjax.launch.X`. Each parses, says where it runs, and calls the library."""

import contextlib
import dataclasses
import io
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import tyro

from ecgjax.errors import InputError
from ecgjax.launch.malloc import keep_memory

keep_memory()  # here: a thread that is started before may get a heap of its own

Arguments = TypeVar("Arguments")


def run(main: Callable[[], None]) -> None:
    """Runs a command's `main`; input that cannot be honoured ends it with one line on standard error and status 2."""
    try:
        main()
    except InputError as error:
        sys.exit(_said(f"error: {error}", status=2))
    except KeyboardInterrupt:
        sys.exit(
            _said("interrupted; the same command goes on from the last checkpoint", status=130)
        )


def _said(line: str, *, status: int) -> int:
    print(line, file=sys.stderr)
    return status


def parse(arguments: type[Arguments], **settings) -> Arguments:
    """The command line as `arguments`, by `tyro.cli`; what is wrong with it becomes one line like any other input's."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(arguments, prog=_command(), **settings)
    except SystemExit as end:
        if not end.code:  # --help
            raise
    rows = [
        row.strip(" │|") for row in re.sub(r"\x1b\[[0-9;]*m", "", box.getvalue()).splitlines()[1:-1]
    ]
    said = itertools.takewhile(
        lambda row: row.strip("─-"), rows
    )  # below the rule it is about --help
    raise InputError(f"{' '.join(said)} (--help explains the options)")


def _command() -> str:
    module = sys.modules["__main__"].__spec__
    return f"python -m {module.name}" if module else sys.argv[0]


def chosen(option: str, names: Iterable[str], default: str) -> str:
    """The name given to `option` on the command line: it decides which settings the other options belong to."""
    words = [part for word in sys.argv[1:] for part in word.split("=", 1)]
    value = words[words.index(option) + 1] if option in words[:-1] else default
    return value if value in names else default  # a wrong name is reported by the parser proper


def chosen_pretraining() -> dict:
    """What --preset and --objective choose: these two, and the settings that the other options start from."""
    from ecgjax.objectives import OBJECTIVES
    from ecgjax.workflows.presets import PRESETS
    from ecgjax.workflows.pretrain import Pretraining

    preset = chosen("--preset", PRESETS, "")
    settings = PRESETS[preset] if preset else Pretraining()
    own = next(name for name, kind in OBJECTIVES.items() if kind is type(settings.objective))
    objective = chosen("--objective", OBJECTIVES, own)
    if objective != own:
        settings = dataclasses.replace(settings, objective=OBJECTIVES[objective]())
    return {"preset": preset or None, "objective": objective, "settings": settings}


def say_where() -> None:
    """Says on which devices the work runs; what is compiled there is kept for the next time."""
    import jax

    from ecgjax.remote import cache

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache("compiled")))
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    process = (
        f", process {jax.process_index()} of {jax.process_count()}"
        if jax.process_count() > 1
        else ""
    )
    print(
        f"jax {jax.__version__}: {jax.device_count()} x {kinds} ({jax.default_backend()}){process}",
        file=sys.stderr,
    )


class Counted:
    """Progress of what is counted: a bar on a terminal, lines elsewhere. Called with what is done and what there is."""

    def __init__(self, things: str):
        import rich.console
        import rich.progress

        columns = (
            *rich.progress.Progress.get_default_columns(),
            rich.progress.MofNCompleteColumn(),
        )
        self._bar = rich.progress.Progress(*columns, console=rich.console.Console(stderr=True))
        self._bar.disable = not self._bar.console.is_terminal
        self._task, self._things, self._started = (
            self._bar.add_task(things, total=None),
            things,
            time.monotonic(),
        )
        self.total = 0
        """0 as long as it was not called."""

    def __call__(self, done: int, total: int) -> None:
        self.total = total
        self._bar.update(self._task, completed=done, total=total)
        if self._bar.disable:
            print(
                f"{done:,} of {total:,} {self._things}, {time.monotonic() - self._started:.0f} s",
                file=sys.stderr,
            )

    def __enter__(self) -> "Counted":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()
