"""The command: `python -m benchmarks [NAMES...] [--out DIR] [--data PREPARED] [--source PTB-XL]`."""

import dataclasses
import importlib
import tempfile
from pathlib import Path
from typing import Literal

import tyro

from benchmarks import NAMES, Given, report
from ecgjax.errors import InputError
from ecgjax.launch.command import parse, run, say_where


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures ecgjax side by side with what it replaces; prints tables, writes NAME.json and NAME.png."""

    names: tyro.conf.Positional[tuple[Literal[NAMES], ...]] = NAMES  # type: ignore[valid-type]
    """What to measure."""
    out: Path = Path("benchmarks/results")
    """Folder for the results."""
    data: Path | None = None
    """input_path: a prepared data set. Without it random walks of 1,000 and of 5,000 samples are made."""
    source: Path | None = None
    """conversion: PTB-XL's folder as PhysioNet lays it out."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    say_where()
    for name in arguments.names:
        try:
            module = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            raise InputError(f"{name}: needs {error.name}, which is not installed") from error
        with tempfile.TemporaryDirectory() as scratch:
            rows = module.measure(Given(Path(scratch), arguments.data, arguments.source))
        report.write(name, rows, figure=module.FIGURE, out=arguments.out)


if __name__ == "__main__":
    run(main)
