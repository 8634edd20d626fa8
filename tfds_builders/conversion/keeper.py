"""The two halves of a report on a user's own files: redacted for everybody, in full beside the key.

File names and error messages may contain patients' names. Only the holder of the key sees them.
"""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from tfds_builders.conversion.plan import Rejection, Shard
from tfds_builders.recording.recording import Recording

NO_DETAIL = "redacted, since it may quote the file; the table beside the key has it"


def redact(shard: Shard) -> Shard:
    """Returns the shard with rejections that state only their reason."""
    rejections = [
        dataclasses.replace(rejection, detail=NO_DETAIL) for rejection in shard.rejections
    ]
    return dataclasses.replace(shard, rejections=rejections)


def write_key_table(
    key_file: Path,
    dataset: str,
    recordings: Sequence[Recording],
    rejections: Sequence[Rejection],
) -> Path:
    """Writes the table of record ids, files and details of rejections, readable by its owner only.

    Args:
      key_file: the user's key; the table goes beside it.
      dataset: name of the data set.
      recordings: all recordings of the source.
      rejections: those that were not written.

    Returns:
      The path of the table, KEY_FILE.DATASET.csv.

    Raises:
      ValueError: a recording names no source file, a programming error of its builder.
    """
    for recording in recordings:
        if not recording.source_file:
            problem = f"{dataset}: recording {recording.record_id} has no source_file"
            raise ValueError(f"{problem}; set it in find_recordings")
    path = key_file.with_name(f"{key_file.name}.{dataset}.csv")
    problems = {row.record_id: (row.reason, row.detail) for row in rejections}
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with open(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", "file", "reason", "detail"))
        for row in recordings:
            reason, detail = problems.get(row.record_id, ("", ""))
            writer.writerow((row.record_id, row.source_file, reason, detail))
    return path
