"""Teaches an encoder a task with labels: fine-tuned, probed frozen, ...: `python -m ecgjax.launch.finetune`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ecgjax.adapt import METHODS, Method
from ecgjax.encoders import ENCODERS
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch.command import chosen, parse, run, say_where
from ecgjax.remote import local
from ecgjax.workflows import delineation
from ecgjax.workflows.finetune import adapt_and_report


@dataclasses.dataclass(frozen=True)
class Finetune:
    """Trains a classifier with labels and tests it; resumes by itself."""

    data: str
    """A prepared data set, a folder or URL (see ecgjax.launch.prepare)."""
    task: Literal[(*TASKS, delineation.TASK)]  # type: ignore[valid-type]
    """What to predict; waves: P, QRS, T or none for each sample."""
    checkpoint: Path | None = None
    """A pre-trained encoder: a checkpoint or the workdir of a run. Without it training starts from scratch."""
    encoder: Literal[tuple(ENCODERS)] | None = None  # type: ignore[valid-type]
    """Architecture, from scratch; with --checkpoint it only has to agree."""
    method: Literal[tuple(METHODS)] = "finetune"  # type: ignore[valid-type]
    """The way of using labels."""
    settings: Annotated[tyro.conf.AvoidSubcommands[Method], tyro.conf.arg(name="")] = METHODS[
        "finetune"
    ]()
    """The method's settings."""
    labels: float | None = None
    """Labelled recordings of the training split: below 1 a share, from 1 on a number. Default: all."""
    workdir: Path = Path("runs/finetune")
    """Checkpoints, metrics.json, predictions.npz and plots go here."""


def main() -> None:
    """Entry point."""
    method = chosen("--method", METHODS, "finetune")
    arguments = parse(
        Finetune,
        default=Finetune(
            data=tyro.MISSING, task=tyro.MISSING, method=method, settings=METHODS[method]()
        ),
    )
    say_where()
    start = arguments.settings, arguments.checkpoint, arguments.encoder
    rest = {"data": local(arguments.data), "labels": arguments.labels, "workdir": arguments.workdir}
    if arguments.task == delineation.TASK:
        delineation.delineate_and_report(*start, **rest)
    else:
        adapt_and_report(*start, task=TASKS[arguments.task], **rest)


if __name__ == "__main__":
    run(main)
