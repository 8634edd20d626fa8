"""records.parquet: one row a recording, in data-source order, so that nobody scans signals for metadata."""

import hmac
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

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
    }
)
"""Columns; `Recording` and `Kept` say what they mean. patient_id is a keyed hash."""


def make(kept: Sequence[Kept], *, patient_key: bytes, about: dict[str, Any]) -> pa.Table:
    """The table of the recordings kept, with `about` as JSON under "ecgjax" in the schema's metadata."""
    columns = {name: [getattr(row.recording, name, None) for row in kept] for name in SCHEMA.names}
    columns["patient_id"] = [
        patient_hash(row.recording.source_patient_id, patient_key) for row in kept
    ]
    columns["quality"] = [row.quality for row in kept]
    columns["waveform_hash"] = [row.waveform_hash for row in kept]
    return pa.table(columns, schema=SCHEMA.with_metadata({"ecgjax": json.dumps(about)}))


def patient_hash(source_patient_id: str, key: bytes) -> str:
    """First 32 hex digits of the HMAC-SHA256 of a source's patient id, all of it that is ever written."""
    return hmac.digest(key, source_patient_id.encode(), "sha256").hex()[:32]
