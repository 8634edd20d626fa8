"""records.parquet: the metadata of all recordings, one row each, in the order of the shards."""

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
"""Columns, explained at `Recording` and `Kept`; patient_id is `patient_hash`."""


def make(kept: Sequence[Kept], *, patient_key: bytes, about: dict[str, Any]) -> pa.Table:
    """Returns the table of recordings.

    Args:
      kept: the recordings that were written.
      patient_key: key of the patient hash.
      about: stored as JSON under "ecgjax" in the schema's metadata.
    """
    columns = {name: [getattr(row.recording, name, None) for row in kept] for name in SCHEMA.names}
    columns["patient_id"] = [
        patient_hash(row.recording.source_patient_id, patient_key) for row in kept
    ]
    columns["quality"] = [row.quality for row in kept]
    columns["waveform_hash"] = [row.waveform_hash for row in kept]
    return pa.table(columns, schema=SCHEMA.with_metadata({"ecgjax": json.dumps(about)}))


def patient_hash(source_patient_id: str, key: bytes) -> str:
    """Returns the first 32 hex digits of the HMAC-SHA256 of a source's patient id.

    Nothing else of the patient id is ever written.
    """
    return hmac.digest(key, source_patient_id.encode(), "sha256").hex()[:32]
