"""Runs the low-label benchmark of an encoder: `python -m ecgjax.launch.benchmark`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate import plots
from ecgjax.evaluate.low_label_table import markdown
from ecgjax.evaluate.tasks import MAIN_TASKS, TASKS
from ecgjax.launch import command
from ecgjax.pretrained import load
from ecgjax.remote import local
from ecgjax.workflows.benchmark import Benchmark, benchmark

TaskName = Literal[tuple(TASKS)]  # type: ignore[valid-type]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares a pre-trained encoder with a random one and with training from scratch.

    The comparison goes from few labelled recordings to all.
    """

    checkpoint: Path
    """A pre-trained encoder: a checkpoint or the workdir of a run."""
    data: str
    """A prepared data set, folder or URL (see `prepare`)."""
    out: Path = Path("runs/benchmark")
    """Folder for benchmark.csv, per_seed.csv, benchmark.md, benchmark.png and checkpoints."""
    tasks: tuple[TaskName, ...] = MAIN_TASKS  # pyright: ignore[reportInvalidTypeForm]
    """Tasks to predict."""
    settings: Annotated[Benchmark, tyro.conf.arg(name="")] = Benchmark()
    """Settings of the benchmark."""


def main() -> None:
    """Parses the options, runs the benchmark and prints its table."""
    arguments = command.parse(Arguments)
    if not arguments.tasks:
        raise InputError(f"--tasks without a task; known: {' '.join(TASKS)}")
    out = command.writable_folder(arguments.out, "--out")
    command.keep_compiled_programs()
    command.log_devices()
    records = Records(local(arguments.data))
    encoder = load(arguments.checkpoint)
    tasks = [TASKS[name] for name in arguments.tasks]
    rows = benchmark(arguments.settings, encoder, records, tasks, out)
    table = markdown(rows)
    (out / "benchmark.md").write_text(table)
    plots.low_label_curves(rows, out / "benchmark.png")
    print(table)
    print(f"results: {out / 'benchmark.csv'}\nplot:    {out / 'benchmark.png'}")


if __name__ == "__main__":
    command.run(main)
