"""Converts raw ECG files: `python -m ecgjax.launch.prepare --dataset NAME --out DIR`."""

import dataclasses
import json
from pathlib import Path

from ecgjax.launch import command
from ecgjax.remote import cache, is_remote, local, publish


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Converts raw ECG files to a prepared data set: ArrayRecord shards, a table and a report.

    To continue an interrupted conversion, run the same command again.
    """

    dataset: str
    """Data set, with its config if not the default: ptb_xl, ptb_xl/500hz, synthetic, ..."""
    out: str
    """Folder or URL (gs://...) of prepared data sets; writes OUT/name/config/version."""
    source: str | None = None
    """Folder or URL of the raw files, laid out as published. Default: download them."""
    workers: int = 1
    """Number of processes. The bytes written are the same for any number."""
    beam: tuple[str, ...] | None = None
    """Write the shards with Apache Beam: pipeline options like runner=DataflowRunner project=..."""
    limit: int | None = None
    """Convert only the first LIMIT recordings of each split, into a folder of their own."""
    patient_key: Path | None = None
    """File outside the data with the secret key that hides patients of your own files; made if it
    does not exist."""
    verify: int = 0
    """Afterwards, compare VERIFY random WFDB records with the reader of the package wfdb."""


def main() -> None:
    """Parses the options, converts, and prints the result."""
    arguments = command.parse(Arguments)
    out = cache("made") if is_remote(arguments.out) else Path(arguments.out).expanduser()
    command.writable_folder(out, "--out")
    from tfds_builders.conversion import report  # imported late: --help need not wait for TFDS
    from tfds_builders.prepare import prepare

    source = local(arguments.source) if arguments.source else None
    with command.CountedProgress("recordings") as progress:
        options = vars(arguments) | {"out": out, "source": source}
        prepared = prepare(**options, progress=progress)
    if not progress.total:
        print(f"{arguments.dataset} was prepared before; delete {prepared} to convert it again")
    print("\n".join(report.headline(json.loads((prepared / report.JSON).read_text()))))
    place = str(prepared)
    if is_remote(arguments.out):
        place = f"{arguments.out.rstrip('/')}/{prepared.relative_to(out)}"
        publish(prepared, place)
    print(f"data set  {place}\nreport    {prepared / report.HTML}")
    print(f"next      python -m ecgjax.launch.pretrain --data {place}")


if __name__ == "__main__":
    command.run(main)
