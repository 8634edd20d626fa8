"""Writes the predictions of a classifier for ECG files: `python -m ecgjax.launch.predict`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ecgjax.launch import command
from ecgjax.workflows.model_on_files.options import Reading, Share, unmasked_note


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes a table with the prediction for each recording, or the reason why there is none.

    To continue a job that was stopped, run the same command again.
    """

    checkpoint: str
    """A model with a head: the workdir of a run of finetune, or a model folder."""
    input: tuple[str, ...]
    """Files of any format that prepare reads, folders, or prepared data sets; paths or URLs."""
    out: Path
    """File to write: .csv, .parquet or .npz."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()
    """Options for raw files."""
    workers: int = 1
    """Processes that read files while the device computes."""
    shard: str | None = None
    """K/N, with K from 0 to N - 1: take one of N parts of the recordings and write
    OUT-0000K-of-0000N. slurm: K and N are those of this task of a SLURM array or step."""
    batch_size: int = 128
    """Windows that the device computes at once."""


def main() -> None:
    """Parses the options, predicts and prints what was done."""
    arguments = command.parse(Arguments)
    share = Share.parse(arguments.shard)
    # Imported late: --help need not wait for JAX.
    from ecgjax.classifier import load
    from ecgjax.workflows.model_on_files.apply import Job
    from ecgjax.workflows.model_on_files.report import report_lines, require_accepted
    from ecgjax.workflows.predict import predict, require_head

    command.keep_compiled_programs()
    command.log_devices()
    classifier = require_head(load(arguments.checkpoint), arguments.checkpoint)
    reading = arguments.reading
    if warning := unmasked_note(reading, classifier.preprocessing, classifier.config):
        command.note(warning)
    job = Job(arguments.out, share, arguments.workers)
    with command.CountedProgress("recordings") as progress:
        report = predict(
            classifier,
            arguments.input,
            job,
            reading=reading,
            batch_size=arguments.batch_size,
            progress=progress,
            show=command.note,
        )
    print("\n".join(report_lines(report, "predicted", share)))
    require_accepted(report)


if __name__ == "__main__":
    command.run(main)
