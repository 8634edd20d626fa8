"""Runs the low-label benchmark of an encoder: `python -m ecgjax.launch.benchmark`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.data.records import Records
from ecgjax.evaluate.tasks import MAIN_TASKS
from ecgjax.launch import command
from ecgjax.pretrained import load_encoder
from ecgjax.remote import local
from ecgjax.train.lock import locked
from ecgjax.workflows.benchmark import Benchmark, benchmark
from ecgjax.workflows.benchmark_files import write_files
from ecgjax.workflows.clinical_report.options import Reporting
from ecgjax.workflows.clinical_report.report import write_report
from ecgjax.workflows.cohort import Cohort
from ecgjax.workflows.own_targets.choose import choose_tasks
from ecgjax.workflows.own_targets.task import OwnTargets
from ecgjax.workflows.protocols import PROTOCOLS


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares a pre-trained encoder with a random one and with training from scratch.

    The comparison goes from few labelled recordings to all.
    """

    checkpoint: Path
    """A pre-trained encoder: a checkpoint, the workdir of a run, or ptb-xl, which is shipped."""
    data: str
    """A prepared data set, folder or URL (see `prepare`)."""
    protocol: Literal[tuple(PROTOCOLS)] | None = None  # type: ignore[valid-type]
    """A published protocol on PTB-XL, whose table protocol.md shows published results beside the
    encoder's: iclr2026 (linear, query attention and fine-tuned with all labels) or merl (linear
    with 1, 10 and 100 % of the labels). It sets the defaults of the options below."""
    out: Path = Path("runs/benchmark")
    """Folder for tables (benchmark.md, benchmark.csv, per_class.csv), plot and checkpoints."""
    tasks: tuple[str, ...] = ()
    """Tasks to predict, those of finetune but waves, and label:NAME. Default: those of --protocol,
    or superclass, af, flutter, premature, av_block_1, mi; with --target none."""
    own: Annotated[OwnTargets, tyro.conf.arg(name="")] = OwnTargets()
    """Targets of your own."""
    cohort: Annotated[Cohort, tyro.conf.arg(name="")] = Cohort()
    """Splits of your own, and other data sets to test on."""
    reporting: Annotated[Reporting, tyro.conf.arg(name="")] = Reporting()
    """The clinical report."""
    settings: Annotated[Benchmark, tyro.conf.arg(name="")] = Benchmark()
    """Settings of the benchmark."""


def main() -> None:
    """Parses the options, runs the benchmark and prints its table."""
    protocol = PROTOCOLS.get(command.last_choice("--protocol", PROTOCOLS, ""))
    settings = protocol.settings if protocol else Benchmark()
    empty = Arguments(checkpoint=tyro.MISSING, data=tyro.MISSING, settings=settings)
    arguments = command.parse(Arguments, default=empty)
    out = command.writable_folder(arguments.out, "--out")
    command.keep_compiled_programs()
    command.log_devices()
    records = Records(local(arguments.data))
    encoder = load_encoder(arguments.checkpoint)
    if protocol:
        encoder = protocol.prepare(encoder, records)
    default_tasks = protocol.tasks if protocol else MAIN_TASKS
    names = arguments.tasks or (() if arguments.own.target else default_tasks)
    tasks = choose_tasks(names, arguments.own, records, arguments.cohort.patient_key)
    with locked(out, "--out"):
        rows = benchmark(arguments.settings, encoder, records, tasks, out, cohort=arguments.cohort)
        print(write_files(rows, tasks, protocol, arguments.settings, out))
        if arguments.reporting.report:
            parts = (arguments.settings, encoder, records, tasks, out)
            print(f"report:  {write_report(*parts, arguments.cohort, arguments.reporting)}")


if __name__ == "__main__":
    command.run(main)
