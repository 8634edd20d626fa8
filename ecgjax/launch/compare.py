"""Which of two ways of using labels is better, from the command line: `python -m ecgjax.launch.compare`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from ecgjax.evaluate.metrics import Interval
from ecgjax.evaluate.predictions import SPLITS, compare
from ecgjax.launch import parse, run


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares runs of `finetune`, several seeds of one way against several of another, on the same recordings."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Workdirs of finished runs."""
    against: tuple[Path, ...]
    """Workdirs of the runs that they are compared with."""
    split: Literal[SPLITS] = "test"  # type: ignore[valid-type]
    """Compared on this split."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    about, bootstrap = compare(arguments.runs, arguments.against, arguments.split)
    print(f"{about['task']}, {arguments.split} of {about['data']}; means of {len(arguments.runs)} and of "
          f"{len(arguments.against)} runs\n")  # fmt: skip
    print(f"{about['metric']:16}{'runs':>8}{'against':>10}   difference (95 % interval over patients)")

    def column(way: str, minus: str | None = None) -> list[Interval]:
        mean = [bootstrap.macro(way, minus=minus)] if len(about["classes"]) > 1 else []
        return [*mean, *bootstrap.per_class(way, minus=minus)]

    columns = column("ours"), column("theirs"), column("ours", "theirs")
    names = [*["mean"][: len(columns[0]) - len(about["classes"])], *about["classes"]]
    for name, ours, theirs, gain in zip(names, *columns, strict=True):
        interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        print(f"{name:16}{ours.value:8.3f}{theirs.value:10.3f}   {interval}")


if __name__ == "__main__":
    run(main)
