"""Converts raw ECG files: `python -m ecgjax.launch.prepare --dataset ptb_xl --source DIR --out DIR`."""

import dataclasses
import json
import sys
import time
from pathlib import Path

import rich.progress

from ecgjax.launch import parse, run


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Converts raw ECG files to a prepared data set: ArrayRecord shards, a table and a report."""

    dataset: str
    """Data set, and its config if not the default: ptb_xl, ptb_xl/500hz, synthetic, ..."""
    out: Path
    """Folder for prepared data sets; this one goes to OUT/name/config/version."""
    source: Path | None = None
    """Folder of the raw files, laid out as their publisher does. Without it they are downloaded."""
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
    from tfds_builders import report  # not above: --help should not wait for TFDS
    from tfds_builders.prepare import prepare

    columns = (*rich.progress.Progress.get_default_columns(), rich.progress.MofNCompleteColumn())
    bar = rich.progress.Progress(*columns, console=rich.console.Console(stderr=True))
    task, started = bar.add_task("recordings", total=None), time.monotonic()

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if not bar.console.is_terminal:
            print(f"{done:,} of {total:,} recordings, {time.monotonic() - started:.0f} s", file=sys.stderr)

    bar.disable = not bar.console.is_terminal
    with bar:
        prepared = prepare(**vars(args), progress=show)
    if bar.tasks[task].total is None:
        print(f"{args.dataset} had been prepared before; delete {prepared} to do it again")
    print("\n".join(report.headline(json.loads((prepared / report.JSON).read_text()))))
    print(f"data set  {prepared}\nreport    {prepared / report.HTML}")
    print(f"next      python -m ecgjax.launch.pretrain --data {prepared}")


if __name__ == "__main__":
    run(main)
