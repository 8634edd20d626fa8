"""records.parquet: the metadata of all recordings, one row each, in the order of the shards."""

import hmac
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ecgjax.errors import InputError
from tfds_builders.conversion.plan import Kept

FILE = "records.parquet"
SCHEMA = pa.schema(
    {
        "record_id": pa.string(),
        "patient_id": pa.string(),
        "recorded_at": pa.timestamp("s"),
        "age": pa.float32(),
        "sex": pa.string(),
        "site": pa.string(),
        "device": pa.string(),
        "split": pa.string(),
        "fold": pa.int8(),
        "labels": pa.list_(pa.string()),
        "quality": pa.list_(pa.string()),
        "waveform_hash": pa.string(),
        "valid_samples": pa.int32(),
        "sketch": pa.string(),
    }
)
"""Columns, explained at `Recording` and `Kept`; patient_id is `patient_hash`. The columns of
`Recording.extra` follow."""


def make(kept: Sequence[Kept], *, patient_key: bytes, about: dict[str, Any]) -> pa.Table:
    """Returns the table of recordings.

    Args:
      kept: the recordings that were written.
      patient_key: key of the patient hash.
      about: stored as JSON under "ecgjax" in the schema's metadata.

    Raises:
      InputError: a further column has the name of a column of the format.
    """
    columns = {name: [getattr(row.recording, name, None) for row in kept] for name in SCHEMA.names}
    columns["patient_id"] = [
        patient_hash(row.recording.source_patient_id, patient_key) for row in kept
    ]
    columns["quality"] = [row.quality for row in kept]
    for name in ("waveform_hash", "valid_samples", "sketch"):
        columns[name] = [getattr(row, name) for row in kept]
    extra = _extra_columns(kept)
    schema = pa.schema([*SCHEMA, *((name, pa.string()) for name in extra)])
    return pa.table(columns | extra, schema=schema.with_metadata({"ecgjax": json.dumps(about)}))


def _extra_columns(kept: Sequence[Kept]) -> dict[str, list[str | None]]:
    """Returns the further columns of the user's table; None where a recording has no value."""
    extras = [dict(row.recording.extra) for row in kept]
    names = dict.fromkeys(name for extra in extras for name in extra)
    if clashes := names.keys() & set(SCHEMA.names):
        problem = f"column {sorted(clashes)[0]!r} is kept, but records.parquet has one of that name"
        raise InputError(f"{problem}; rename it in your table")
    return {name: [extra.get(name) for extra in extras] for name in names}


def patient_hash(source_patient_id: str, key: bytes) -> str:
    """Returns the first 32 hex digits of the HMAC-SHA256 of a source's patient id.

    Nothing else of the patient id is ever written.
    """
    return hmac.digest(key, source_patient_id.encode(), "sha256").hex()[:32]
