"""Compares two methods that use labels: `python -m ecgjax.launch.compare`."""

import dataclasses
from pathlib import Path

import tyro

from ecgjax.launch.command import parse, run
from ecgjax.workflows.compare import compare, table


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares runs of `finetune` on the same recordings: several seeds of each of two methods.

    With several seeds, intervals cover other seeds, too; two or three seeds give wide ones.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Workdirs of finished runs of one method."""
    against: tuple[Path, ...]
    """Workdirs of finished runs of the method to compare with. Give equally many in the same order
    of seeds: they are paired."""
    split: str = "validation"
    """Split to compare on: choose on validation, report on test. Or the name of another data set
    that the runs were tested on. Runs with --folds have test only."""


def main() -> None:
    """Parses the options and prints the comparison."""
    arguments = parse(Arguments)
    print(table(compare(arguments.runs, arguments.against, arguments.split)))


if __name__ == "__main__":
    run(main)
