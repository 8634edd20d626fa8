"""Conversion of PTB-XL at 100 Hz: `prepare` with one worker, against a plain loop of wfdb.rdrecord.

`prepare` reads, verifies, flags, hashes and writes shards, table and report. The loop reads every so many of the same
records in wfdb's cheapest form (physical=False), and does nothing with them.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import wfdb

from benchmarks import Given
from benchmarks.timing import cpu_seconds, one_core
from tfds_builders.conversion import table
from tfds_builders.prepare import prepare

FIGURE = "records_per_s_core"
PREPARE, WFDB = "prepare, one worker", "loop of wfdb.rdrecord"


def measure(
    given: Given, *, limit: int = 1500, wfdb_every: int = 20, rounds: int = 2
) -> list[dict]:
    """Records a second of CPU time; `limit` recordings of each split are converted."""
    if given.source is None:
        return [{"what": PREPARE, "skipped": "PTB-XL is missing: give its folder as --source"}]
    once = _prepared(given, limit, "first")
    names = [f"{record_id[:2]}000/{record_id}_lr" for record_id in _record_ids(once)]
    some = [str(given.source / "records100" / name) for name in names[::wfdb_every]]
    numbers = itertools.count()
    contenders: dict[str, Callable[[], int]] = {
        PREPARE: lambda: len(_record_ids(_prepared(given, limit, f"turn{next(numbers)}"))),
        WFDB: lambda: len(
            [wfdb.rdrecord(record, physical=False, return_res=16) for record in some]
        ),
    }
    with one_core():
        seconds = cpu_seconds(contenders, rounds=rounds)
    counts = {PREPARE: len(names), WFDB: len(some)}
    return [
        {
            "what": name,
            "records": counts[name],
            FIGURE: 1 / each,
            "times_wfdb": seconds[WFDB] / each,
        }
        for name, each in seconds.items()
    ]


def _prepared(given: Given, limit: int, name: str) -> Path:
    """A new conversion; the one before it goes, since a conversion is done once only."""
    shutil.rmtree(given.scratch / "converted", ignore_errors=True)
    return prepare(
        "ptb_xl/100hz", given.scratch / "converted" / name, source=given.source, limit=limit
    )


def _record_ids(folder: Path) -> list[str]:
    return pyarrow.parquet.read_table(folder / table.FILE, columns=["record_id"])[
        "record_id"
    ].to_pylist()
