"""Verification of a prepared data set: its stored samples against a second reader of the source."""

import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet

from ecgjax.errors import InputError, counted
from tfds_builders.conversion import keeper, table
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.recording.recording import Recording
from tfds_builders.second_readers import comparison
from tfds_builders.second_readers.reading import CannotRead

SEED = 0


class Stored(NamedTuple):
    """A recording of the data set, and the metadata that the source has of it now."""

    recording: Recording
    split: str
    position: int
    """Number of the recording in its split."""


def verify_records(builder: RecordingsBuilder, count: int) -> str:
    """Compares stored samples with a second reader of the raw files, for random recordings.

    Leads, missing samples and values must agree, values within half an LSB, or 2 uV if the
    recording was resampled.

    Args:
      builder: builder of a data set that is prepared.
      count: number of recordings to compare, if the data set holds that many.

    Returns:
      A line for each reader: number of recordings, largest difference and version of the reader;
      and the number of recordings that it cannot read.

    Raises:
      InputError: the readers disagree, or there is nothing to compare. The message names the
        record, the lead and the sample, but no file of a user's own.
    """
    stored = _stored(builder)
    if not stored:
        problem = f"{builder.data_dir}: holds no record of {builder.source}"
        raise InputError(f"{problem}; give the --source that it was prepared from")
    largest: dict[tuple[str, float], list[float]] = {}
    unread: dict[str, list[str]] = {}
    for one in random.Random(SEED).sample(stored, min(count, len(stored))):
        try:
            reader, tolerance_uv, difference_uv = _verify(builder, one)
        except CannotRead as error:
            unread.setdefault(error.reader, []).append(str(error))
            continue
        largest.setdefault((reader, tolerance_uv), []).append(difference_uv)
    lines = [
        f"verified {counted(len(differences), 'recording')} against {reader}: they differ by at "
        f"most {max(differences):.1f} uV (tolerance {tolerance_uv:.1f} uV)"
        for (reader, tolerance_uv), differences in largest.items()
    ]
    for reader, reasons in unread.items():
        # Of a user's own files, the reason is not shown, since it may quote the file.
        reason = f"; the first: {reasons[0]}" if builder.patient_key is not None else ""
        lines.append(f"not verified: {len(reasons)} recordings that {reader} cannot read{reason}")
    return "\n".join(lines)


def _stored(builder: RecordingsBuilder) -> list[Stored]:
    """Returns all recordings of the data set that the source still has, in their order."""
    path = Path(builder.data_dir) / table.FILE
    rows = pyarrow.parquet.read_table(path, columns=["record_id", "split"]).to_pylist()
    found = {recording.record_id: recording for recording in builder.find_recordings()}
    builder.delete_unfinished()
    seen: Counter[str] = Counter()
    stored = []
    for row in rows:
        if row["record_id"] in found:
            stored.append(Stored(found[row["record_id"]], row["split"], seen[row["split"]]))
        seen[row["split"]] += 1
    return stored


def _verify(builder: RecordingsBuilder, stored: Stored) -> tuple[str, float, float]:
    """Returns the reader, the tolerance and the largest difference in microvolts."""
    recording = stored.recording
    config = builder.builder_config
    prepared: Any = builder
    example = prepared.as_data_source(stored.split)[stored.position]
    signal = np.asarray(example["signal"])
    if example["record_id"].decode() != recording.record_id:
        problem = f"{builder.data_dir}: the shards have another order than {table.FILE}"
        raise InputError(f"{problem}; prepare the data set again")
    _, window = recording.location
    results = []
    for reading in builder.read_again(recording):
        names = dict(config.lead_names)
        difference_uv, place = comparison.compare(signal, reading, window, config.rate_hz, names)
        results.append((difference_uv, place, reading))
    difference_uv, place, reading = min(results, key=lambda result: result[0])
    tolerance_uv = comparison.tolerance_uv(reading, config.rate_hz)
    if difference_uv > tolerance_uv:
        problem = f"{_label(builder, recording)}: {place}"
        remedy = f"{reading.reader} disagrees; do not use the data set, and report the record"
        raise InputError(f"{problem}; {remedy}")
    return reading.reader, tolerance_uv, difference_uv


def _label(builder: RecordingsBuilder, recording: Recording) -> str:
    """Returns the name of a record, with the place that has its file if that is secret."""
    label = f"record {recording.record_id}"
    if builder.patient_key is not None or builder.key_file is None:
        return f"{builder.source}: {label}"
    return f"{label} (its file is in {keeper.key_table(builder.key_file, builder.name)})"
