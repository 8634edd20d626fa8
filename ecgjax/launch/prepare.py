"""Converts raw ECG files: `python -m ecgjax.launch.prepare --dataset ptb_xl --source DIR --out DIR`."""

import dataclasses
import json
from pathlib import Path

from ecgjax.launch.command import Counted, parse, run
from ecgjax.remote import cache, is_remote, local, publish


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Converts raw ECG files to a prepared data set: ArrayRecord shards, a table and a report."""

    dataset: str
    """Data set, and its config if not the default: ptb_xl, ptb_xl/500hz, synthetic, ..."""
    out: str
    """Folder for prepared data sets, or a URL (gs://...); this one goes to OUT/name/config/version."""
    source: str | None = None
    """Folder or URL of the raw files, laid out as their publisher does. Without it they are downloaded."""
    workers: int = 1
    """Processes. The bytes written are the same for any number."""
    beam: tuple[str, ...] | None = None
    """Let Apache Beam write the shards: the options of its pipeline, such as runner=DataflowRunner project=..."""
    limit: int | None = None
    """Convert only the first so many recordings of each split, into a folder of their own."""
    patient_key: Path | None = None
    """File outside the data with the secret that hides patients of your own files; made if there is none."""


def main() -> None:
    args = parse(Prepare)
    from tfds_builders.conversion import report  # not above: --help should not wait for TFDS
    from tfds_builders.prepare import prepare

    with Counted("recordings") as counted:
        out = cache("made") if is_remote(args.out) else args.out
        source = local(args.source) if args.source else None
        prepared = prepare(**vars(args) | {"out": out, "source": source}, progress=counted)
    if not counted.total:
        print(f"{args.dataset} had been prepared before; delete {prepared} to do it again")
    print("\n".join(report.headline(json.loads((prepared / report.JSON).read_text()))))
    place = str(prepared)
    if is_remote(args.out):
        place = f"{args.out.rstrip('/')}/{prepared.relative_to(out)}"
        publish(prepared, place)
    print(f"data set  {place}\nreport    {prepared / report.HTML}")
    print(f"next      python -m ecgjax.launch.pretrain --data {place}")


if __name__ == "__main__":
    run(main)
