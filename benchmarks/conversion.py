"""Conversion of PTB-XL at 100 Hz: `prepare` with one worker, against a plain loop of wfdb.rdrecord.

`prepare` reads recordings, checks and flags them, and writes shards, table and report. The loop
reads every twentieth of the same records in wfdb's cheapest form (physical=False), and does nothing
with them.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import wfdb

from benchmarks import Inputs
from benchmarks.timing import cpu_seconds, one_core
from tfds_builders.conversion import table
from tfds_builders.prepare import prepare

FIGURE = "records_per_s_core"
PREPARE = "prepare, one worker"
WFDB = "loop of wfdb.rdrecord"


def measure(
    inputs: Inputs, *, limit: int = 1500, wfdb_every: int = 20, rounds: int = 2
) -> list[dict]:
    """Measures records per second of CPU time.

    Args:
      inputs: `source` is the folder of PTB-XL.
      limit: recordings of each split to convert.
      wfdb_every: the loop of wfdb reads every n-th record.
      rounds: turns of each contender.
    """
    if inputs.source is None:
        return [{"what": PREPARE, "skipped": "PTB-XL is missing: give its folder as --source"}]
    ids = _record_ids(_convert(inputs, limit, "first"))
    names = [f"{record_id[:2]}000/{record_id}_lr" for record_id in ids]
    records = [str(inputs.source / "records100" / name) for name in names[::wfdb_every]]
    turns = itertools.count()
    contenders: dict[str, Callable[[], int]] = {
        PREPARE: lambda: len(_record_ids(_convert(inputs, limit, f"turn{next(turns)}"))),
        WFDB: lambda: _read_all(records),
    }
    with one_core():
        seconds = cpu_seconds(contenders, rounds=rounds)
    counts = {PREPARE: len(names), WFDB: len(records)}
    return [
        {
            "what": name,
            "records": counts[name],
            FIGURE: 1 / each,
            "times_wfdb": seconds[WFDB] / each,
        }
        for name, each in seconds.items()
    ]


def _read_all(records: list[str]) -> int:
    for record in records:
        wfdb.rdrecord(record, physical=False, return_res=16)
    return len(records)


def _convert(inputs: Inputs, limit: int, name: str) -> Path:
    """Converts PTB-XL again: removes the earlier result, because `prepare` would skip it."""
    folder = inputs.scratch / "converted"
    shutil.rmtree(folder, ignore_errors=True)
    return prepare("ptb_xl/100hz", folder / name, source=inputs.source, limit=limit)


def _record_ids(folder: Path) -> list[str]:
    ids = pyarrow.parquet.read_table(folder / table.FILE, columns=["record_id"])
    return ids["record_id"].to_pylist()
