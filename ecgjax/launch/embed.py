"""Writes the embeddings of ECG files: `python -m ecgjax.launch.embed`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ecgjax.launch import command
from ecgjax.workflows.model_on_files.options import Reading, Share, unmasked_note


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Writes a table with the embedding of each recording, or the reason why it has none.

    To continue a job that was stopped, run the same command again.
    """

    checkpoint: str
    """ptb-xl, the encoder that is shipped and the usual choice, or a checkpoint, a model folder or
    the workdir of a run."""
    input: tuple[str, ...]
    """Files of any format that prepare reads, folders, or prepared data sets; paths or URLs."""
    out: Path
    """File to write: .parquet, .csv or .npz."""
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()
    """Options for raw files."""
    workers: int = 1
    """Processes that read files while the device computes."""
    shard: str | None = None
    """K/N, with K from 0 to N - 1: take one of N parts of the recordings and write
    OUT-0000K-of-0000N. slurm: K and N are those of this task of a SLURM array or step."""
    batch_size: int = 256
    """Windows that the device computes at once."""


def main() -> None:
    """Parses the options, embeds and prints what was done."""
    arguments = command.parse(Arguments)
    share = Share.parse(arguments.shard)
    # Imported late: --help need not wait for JAX.
    from ecgjax.pretrained import load_encoder
    from ecgjax.workflows.embed import embed
    from ecgjax.workflows.model_on_files.apply import Job
    from ecgjax.workflows.model_on_files.report import report_lines, require_accepted

    command.keep_compiled_programs()
    command.log_devices()
    encoder = load_encoder(arguments.checkpoint)
    reading = arguments.reading
    if warning := unmasked_note(reading, encoder.preprocessing, encoder.config):
        command.note(warning)
    job = Job(arguments.out, share, arguments.workers)
    with command.CountedProgress("recordings") as progress:
        report = embed(
            encoder,
            arguments.input,
            job,
            reading=reading,
            batch_size=arguments.batch_size,
            progress=progress,
            show=command.note,
        )
    print("\n".join(report_lines(report, "embedded", share)))
    require_accepted(report)


if __name__ == "__main__":
    command.run(main)
