"""Runs benchmarks: `python -m benchmarks [NAMES...] [--out DIR] [--data DIR] [--source PTB-XL]`."""

import dataclasses
import importlib
import tempfile
from pathlib import Path
from typing import Literal

import tyro

from benchmarks import NAMES, Inputs, report
from ecgjax.errors import InputError
from ecgjax.launch.command import keep_compiled_programs, log_devices, parse, run


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares ecgjax with the tools it replaces; prints tables, writes NAME.json and NAME.png."""

    names: tyro.conf.Positional[tuple[Literal[NAMES], ...]] = NAMES  # type: ignore[valid-type]
    """Names of the benchmarks to run."""
    out: Path = Path("benchmarks/results")
    """Folder for the results."""
    data: Path | None = None
    """Prepared data set for input_path. Default: random walks of 1,000 and of 5,000 samples."""
    source: Path | None = None
    """Folder of PTB-XL for conversion, with PhysioNet's layout."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    keep_compiled_programs()
    log_devices()
    for name in arguments.names:
        try:
            module = importlib.import_module(f"benchmarks.{name}")
        except ModuleNotFoundError as error:
            raise InputError(f"{name} needs the package {error.name}: install it") from error
        with tempfile.TemporaryDirectory() as scratch:
            rows = module.measure(Inputs(Path(scratch), arguments.data, arguments.source))
        report.write(name, rows, figure=module.FIGURE, out=arguments.out)


if __name__ == "__main__":
    run(main)
