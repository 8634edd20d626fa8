"""The low-label benchmark from the command line: `python -m ecgjax.launch.benchmark`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate import plots
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch.command import parse, run, say_where
from ecgjax.pretrained import load
from ecgjax.remote import local
from ecgjax.workflows.benchmark import Benchmark, benchmark, markdown

TaskName = Literal[tuple(TASKS)]  # type: ignore[valid-type]
MAIN_TASKS = ("superclass", "af", "flutter", "premature", "av_block_1", "mi")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares a pre-trained encoder with a random one and with training from scratch, from few labels to all."""

    checkpoint: Path
    """A pre-trained encoder: a checkpoint or the workdir of a run."""
    data: str
    """A prepared data set, a folder or URL."""
    out: Path = Path("runs/benchmark")
    """benchmark.csv, per_seed.csv, benchmark.md and benchmark.png go here; trained runs too, so that they resume."""
    tasks: tuple[TaskName, ...] = MAIN_TASKS  # pyright: ignore[reportInvalidTypeForm]
    """What to predict."""
    settings: Annotated[Benchmark, tyro.conf.arg(name="")] = Benchmark()
    """What to compare."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    if not arguments.tasks:
        raise InputError(f"--tasks without a task; known: {' '.join(TASKS)}")
    say_where()
    records, encoder = Records(local(arguments.data)), load(arguments.checkpoint)
    rows = benchmark(
        arguments.settings,
        encoder,
        records,
        [TASKS[name] for name in arguments.tasks],
        arguments.out,
    )
    table = markdown(rows)
    (arguments.out / "benchmark.md").write_text(table)
    plots.low_label_curves(rows, arguments.out / "benchmark.png")
    print(table)
    print(f"results: {arguments.out / 'benchmark.csv'}\nplot:    {arguments.out / 'benchmark.png'}")


if __name__ == "__main__":
    run(main)
