"""Runs the low-label benchmark of an encoder: `python -m ecgjax.launch.benchmark`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ecgjax.data.records import Records
from ecgjax.evaluate import plots
from ecgjax.evaluate.low_label_table import markdown
from ecgjax.evaluate.tasks import MAIN_TASKS
from ecgjax.launch import command
from ecgjax.pretrained import load_encoder
from ecgjax.remote import local
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.cohort import Cohort
from ecgjax.workflows.own_targets.choose import choose_tasks
from ecgjax.workflows.own_targets.task import OwnTargets


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares a pre-trained encoder with a random one and with training from scratch.

    The comparison goes from few labelled recordings to all.
    """

    checkpoint: Path
    """A pre-trained encoder: a checkpoint, the workdir of a run, or ptb-xl, which is shipped."""
    data: str
    """A prepared data set, folder or URL (see `prepare`)."""
    out: Path = Path("runs/benchmark")
    """Folder for benchmark.csv, per_seed.csv, benchmark.md, benchmark.png and checkpoints."""
    tasks: tuple[str, ...] = ()
    """Tasks to predict, those of finetune but waves, and label:NAME. Default: superclass, af,
    flutter, premature, av_block_1, mi; with --target none."""
    own: Annotated[OwnTargets, tyro.conf.arg(name="")] = OwnTargets()
    """Targets of your own."""
    cohort: Annotated[Cohort, tyro.conf.arg(name="")] = Cohort()
    """Splits of your own, and other data sets to test on."""
    settings: Annotated[Benchmark, tyro.conf.arg(name="")] = Benchmark()
    """Settings of the benchmark."""


def main() -> None:
    """Parses the options, runs the benchmark and prints its table."""
    arguments = command.parse(Arguments)
    out = command.writable_folder(arguments.out, "--out")
    command.keep_compiled_programs()
    command.log_devices()
    records = Records(local(arguments.data))
    encoder = load_encoder(arguments.checkpoint)
    names = arguments.tasks or (() if arguments.own.target else MAIN_TASKS)
    tasks = choose_tasks(names, arguments.own, records, arguments.cohort.patient_key)
    rows = benchmark(arguments.settings, encoder, records, tasks, out, cohort=arguments.cohort)
    table = markdown(rows)
    (out / "benchmark.md").write_text(table)
    plots.low_label_curves(rows, out / "benchmark.png")
    print(table)
    print(f"results: {out / 'benchmark.csv'}\nplot:    {out / 'benchmark.png'}")


if __name__ == "__main__":
    command.run(main)
