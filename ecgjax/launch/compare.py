"""Which of two ways of using labels is better, from the command line: `python -m ecgjax.launch.compare`."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from ecgjax.evaluate.metrics import Interval
from ecgjax.evaluate.predictions import TESTED, compare
from ecgjax.launch.command import parse, run


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares runs of `finetune`, several seeds of one way against several of another, on the same recordings."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Workdirs of finished runs."""
    against: tuple[Path, ...]
    """Workdirs of the runs that they are compared with."""
    split: Literal[TESTED] = "validation"  # type: ignore[valid-type]
    """Where they are compared: choose on validation, report on test."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    ours, theirs, bootstrap = compare(arguments.runs, arguments.against, arguments.split)
    print(f"{ours.task}, {arguments.split} of {ours.data}")
    told = [name for name in ours.by if name in theirs.by and ours.by[name] != theirs.by[name]]
    for what, by, paths in (
        ("runs", ours.by, arguments.runs),
        ("against", theirs.by, arguments.against),
    ):
        named = ", ".join(
            f"{name} {by[name]}" for name in dict.fromkeys(["method", "labelled", *told])
        )
        print(f"{what:8} {named}; mean of {len(paths)}")
    print(
        f"\n{ours.metric:16}{'runs':>8}{'against':>10}   difference (95 % interval over patients)"
    )
    several = len(ours.classes) > 1

    def column(way: str, minus: str | None = None) -> list[Interval]:
        return [bootstrap.macro(way, minus=minus)] * several + bootstrap.per_class(way, minus=minus)

    columns = column("runs"), column("against"), column("runs", "against")
    for name, one, other, gain in zip(
        ["mean"] * several + list(ours.classes), *columns, strict=True
    ):
        interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        print(f"{name:16}{one.value:8.3f}{other.value:10.3f}   {interval}")


if __name__ == "__main__":
    run(main)
