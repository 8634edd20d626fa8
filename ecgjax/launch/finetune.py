"""Trains and tests a model with labels: `python -m ecgjax.launch.finetune`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.adapt import METHODS, Method
from ecgjax.data.records import Records
from ecgjax.encoders import ENCODERS
from ecgjax.launch import command
from ecgjax.remote import local
from ecgjax.train.lock import locked
from ecgjax.workflows.cohort import Cohort
from ecgjax.workflows.finetune import finetune
from ecgjax.workflows.low_label import Labels
from ecgjax.workflows.own_targets.choose import choose_target
from ecgjax.workflows.own_targets.task import OwnTargets


@dataclasses.dataclass(frozen=True)
class Finetune:
    """Trains a classifier with labels and tests it. The same command resumes a stopped run."""

    data: str
    """A prepared data set, folder or URL (see `prepare`)."""
    task: str | None = None
    """Task to predict: superclass, af, flutter, premature, av_block_1, mi, conditions (these five
    by one model), all, diagnostic, subclass, form, rhythm; label:NAME, a label that the data set
    holds; waves: P, QRS, T or none at each sample. Or give --target."""
    own: Annotated[OwnTargets, tyro.conf.arg(name="")] = OwnTargets()
    """Targets of your own."""
    checkpoint: Path | None = None
    """A pre-trained encoder to start from: ptb-xl, which is shipped and the usual start, a
    checkpoint, or the workdir of a run. Without this option: random weights."""
    encoder: Literal[tuple(ENCODERS)] | None = None  # type: ignore[valid-type]
    """Architecture to train from random weights. With --checkpoint it must be the checkpoint's."""
    method: Literal[tuple(METHODS)] = "finetune"  # type: ignore[valid-type]
    """Method of using labels. Its settings are options below: --method NAME --help lists them."""
    settings: Annotated[tyro.conf.AvoidSubcommands[Method], tyro.conf.arg(name="")] = METHODS[
        "finetune"
    ]()
    """Settings of the method."""
    labels: str = "all"
    """Labelled recordings of the training split: a count (100), a share (0.1 or 10%) or all."""
    workdir: Path = Path("runs/finetune")
    """Folder for checkpoints, metrics.json, predictions.npz and plots."""
    cohort: Annotated[Cohort, tyro.conf.arg(name="")] = Cohort()
    """Splits of your own, cross-validation, and other data sets to test on."""


def main() -> None:
    """Parses the options, trains and tests."""
    method = command.last_choice("--method", METHODS, "finetune")
    default = Finetune(data=tyro.MISSING, method=method, settings=METHODS[method]())
    arguments = command.parse(Finetune, default=default)
    command.check_choice("--method", arguments.method, METHODS, arguments.settings)
    labels = Labels.parse(arguments.labels)
    command.writable_folder(arguments.workdir, "--workdir")
    command.keep_compiled_programs()
    command.log_devices()
    records = Records(local(arguments.data))
    key = arguments.cohort.patient_key
    target = choose_target(arguments.task, arguments.own, records, key)
    with locked(arguments.workdir, "--workdir"):
        finetune(
            arguments.settings,
            target,
            records,
            arguments.workdir,
            labels=labels,
            checkpoint=arguments.checkpoint,
            encoder_name=arguments.encoder,
            cohort=arguments.cohort,
        )


if __name__ == "__main__":
    command.run(main)
