"""Converts raw ECG files: `python -m ecgjax.launch.prepare --dataset NAME --out DIR`."""

import dataclasses
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
    seconds: float | None = None
    """Length of the stored recordings, at least 1 s. Default: that of the config, mostly 10 s."""
    pad_from: float | None = None
    """Keep recordings of at least PAD_FROM s, filled up with missing samples to the full length."""
    leads: tuple[str, ...] = ()
    """Leads that the data set holds, such as I II; the others are missing samples. Default: 12."""
    allow_missing_leads: bool = False
    """Keep recordings that lack some of the leads; these are missing samples."""
    lead_names: tuple[str, ...] = ()
    """Leads with names of your own: NAME=LEAD, such as "EKG A=I" "EKG B=II"."""
    columns: tuple[str, ...] = ()
    """Further columns of your recordings.csv to keep in the table of recordings, as text."""
    patient_key: Path | None = None
    """File outside the data with the secret that hides patients of own files; made if absent."""
    verify: int = 0
    """Afterwards, compare VERIFY random stored recordings with another reader of the raw files:
    wfdb, pydicom, ecgdatakit, NumPy, h5py, SciPy or pandas."""


def main() -> None:
    """Parses the options, converts, and prints the result."""
    arguments = command.parse(Arguments)
    out = cache("made") if is_remote(arguments.out) else Path(arguments.out).expanduser()
    # Imported late: --help need not wait for TFDS.
    from tfds_builders.conversion import report
    from tfds_builders.conversion.headline import headline, next_command
    from tfds_builders.prepare import first_changed, prepare, require_apart

    if arguments.source and not is_remote(arguments.source):
        require_apart(out, Path(arguments.source).expanduser())
    command.writable_folder(out, "--out")
    source = local(arguments.source) if arguments.source else None
    with command.CountedProgress("recordings") as progress:
        options = vars(arguments) | {"out": out, "source": source}
        prepared = prepare(**options, progress=progress)
    summary = report.read(prepared)
    if not progress.total:
        print(f"{arguments.dataset} was prepared before; delete {prepared} to convert it again")
        if source and (path := first_changed(source, prepared / report.JSON)):
            changed = path if summary.get("own_files") is False else f"a file or folder in {source}"
            print(f"WARNING   {changed} has changed since then, and the data set has not")
    print("\n".join(headline(summary, arguments.patient_key)))
    place = str(prepared)
    if is_remote(arguments.out):
        place = f"{arguments.out.rstrip('/')}/{prepared.relative_to(out)}"
        publish(prepared, place)
    print(f"data set  {place}\nreport    {prepared / report.HTML}")
    print(f"next      {next_command(summary, place)}")


if __name__ == "__main__":
    command.run(main)
