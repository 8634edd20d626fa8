"""What became of a shard's recordings, in a file written when the shard is whole.

Whoever wrote the shard (this process, a worker, a machine under Beam, the conversion that was killed yesterday) is
believed by this file alone, and only if the shard itself holds as many recordings. So nothing that a runner loses goes
unnoticed, and a conversion goes on with the shards that are not there yet. Of a recording it has the id, and nothing
from its file but why it was rejected.
"""

import base64
import contextlib
import hashlib
import json
import os
import uuid

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from ecgjax.signals import LEADS
from tfds_builders.conversion.plan import Kept, Plan, Shard
from tfds_builders.conversion.report import Rejection


def save(plan: Plan, shard: Shard) -> None:
    """Writes the journal of a shard that is on disk."""
    kept = [
        [row.recording.record_id, row.quality, row.waveform_hash, _packed(row.small)]
        for row in shard.kept
    ]
    rejected = [
        [row.record_id, row.reason, row.detail, _packed(row.small)] for row in shard.rejections
    ]
    text = json.dumps({"plan": _digest(plan), "kept": kept, "rejected": rejected})
    passing = plan.journal.with_suffix(f".{uuid.uuid4().hex}")
    passing.write_text(text, encoding="utf-8")
    os.replace(passing, plan.journal)


def load(plan: Plan) -> Shard | None:
    """The shard of a plan, or None if it is not, or not wholly, there; or if it is another plan's."""
    try:
        found = json.loads(plan.journal.read_text(encoding="utf-8"))
        with contextlib.closing(ArrayRecordReader(str(plan.path))) as reader:
            stored = reader.num_records()
    except (OSError, ValueError, RuntimeError):  # absent, or cut short when its machine stopped
        return None
    if found["plan"] != _digest(plan) or stored != len(found["kept"]):
        return None
    planned = {recording.record_id: recording for recording in plan.recordings}
    kept = [
        Kept(planned[record_id], flags, digest, _unpacked(small))
        for record_id, flags, digest, small in found["kept"]
    ]
    rejections = [
        Rejection(record_id, plan.split, reason, detail, _unpacked(small))
        for record_id, reason, detail, small in found["rejected"]
    ]
    return Shard(plan.path, plan.split, kept, rejections)


def _digest(plan: Plan) -> str:
    """Of what the plan asks for: another source or option must not go on with this one's shards."""
    asked = [plan.about, plan.split, [recording.record_id for recording in plan.recordings]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _packed(small: np.ndarray | None) -> str | None:
    return None if small is None else base64.b64encode(small.astype("<i2").tobytes()).decode()


def _unpacked(text: str | None) -> np.ndarray | None:
    return (
        None
        if text is None
        else np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, len(LEADS))
    )
