"""The two halves of a report on a user's own files: redacted for everybody, in full beside the key.

File names and error messages may contain patients' names. Only the holder of the key sees them, in
the key table. Conversions add rows to it and never change those of earlier ones.
"""

import csv
import dataclasses
import datetime
import fcntl
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from tfds_builders.conversion.plan import Shard
from tfds_builders.recording.recording import Recording

NO_DETAIL = "redacted, since it may quote the file; the table beside the key has it"
COLUMNS = ("dataset", "source", "record_id", "file", "reason", "detail", "converted_at")
"""Columns of the key table; reason and detail are empty unless the recording was rejected."""


def redact(shard: Shard) -> Shard:
    """Returns the shard with rejections that state only their reason."""
    rejections = [
        dataclasses.replace(rejection, detail=NO_DETAIL) for rejection in shard.rejections
    ]
    return dataclasses.replace(shard, rejections=rejections)


def key_table(key_file: Path, dataset: str) -> Path:
    """Returns the path of the key table, KEY_FILE.DATASET.csv.

    A file with other columns stays as it is: an older version's table, or one that somebody edited.
    The table then is KEY_FILE.DATASET.2.csv, or has the next free number.

    Args:
      key_file: the user's key; the table is beside it.
      dataset: name of the data set, without configuration.
    """
    first = [key_file.with_name(f"{key_file.name}.{dataset}.csv")]
    others = (key_file.with_name(f"{key_file.name}.{dataset}.{n}.csv") for n in itertools.count(2))
    return next(path for path in itertools.chain(first, others) if _has_our_columns(path))


def _has_our_columns(path: Path) -> bool:
    """Returns True for a table of this form, and for one that is absent or empty."""
    header = ",".join(COLUMNS).encode()
    try:
        with path.open("rb") as file:
            return file.readline().rstrip(b"\r\n") in (header, b"")
    except FileNotFoundError:
        return True


def add_to_key_table(
    key_file: Path,
    dataset: str,
    source: Path | None,
    recordings: Sequence[Recording],
    shards: Sequence[Shard],
) -> Path:
    """Adds a row for each recording of a conversion; the table is readable by its owner only.

    Args:
      key_file: the user's key; the table is beside it.
      dataset: "name/config:version".
      source: folder of the files.
      recordings: all recordings of the source.
      shards: the outcome of the conversion.

    Returns:
      The path of the table.

    Raises:
      ValueError: a recording names no source file, a programming error of its builder.
    """
    for recording in recordings:
        if not recording.source_file:
            problem = f"{dataset}: recording {recording.record_id} has no source_file"
            raise ValueError(f"{problem}; set it in find_recordings")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rejections = (rejection for shard in shards for rejection in shard.rejections)
    problems = {row.record_id: (row.reason, row.detail) for row in rejections}
    rows = [
        (dataset, source or "", row.record_id, row.source_file)
        + (*map(_printable, problems.get(row.record_id, ("", ""))), now)
        for row in recordings
    ]
    path = key_table(key_file, dataset.split("/")[0])
    _append(path, rows)
    return path


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _append(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Appends rows in one piece, after the header if the file is new."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    with open(descriptor, "r+b") as file:
        os.fchmod(descriptor, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # conversions with the same key may run side by side
        end = file.seek(0, os.SEEK_END)
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows if end else [COLUMNS, *rows])
        file.seek(max(0, end - 1))
        cut_off = file.read(1) not in (b"", b"\n")  # an earlier conversion was killed in a row
        # surrogateescape: names of files need not be UTF-8.
        file.write(b"\r\n" * cut_off + text.getvalue().encode("utf-8", "surrogateescape"))
