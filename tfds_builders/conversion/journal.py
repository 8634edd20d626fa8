"""The journal of a shard: the outcome of its recordings, written when the shard is complete.

A shard may have been written by this process, a worker, a machine under Beam or an earlier
conversion that was killed. It counts only if its journal exists and it holds as many recordings as
the journal lists. So the loss of a shard by a runner is noticed, and a conversion continues with
the shards that are absent. The journal stores each recording's id and, if it was rejected, the
reason; nothing else from the file.
"""

import base64
import contextlib
import hashlib
import json
import os
import uuid

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from ecgjax.data.sketches import VERSION
from ecgjax.signals import LEADS
from tfds_builders.conversion.plan import Kept, Plan, Rejection, Shard


def save(plan: Plan, shard: Shard) -> None:
    """Writes the journal of a shard that is on disk."""
    kept = [
        [
            *(row.recording.record_id, row.quality, row.waveform_hash, row.valid_samples),
            *(_to_text(row.small), row.sketch),
        ]
        for row in shard.kept
    ]
    rejected = [
        [row.record_id, row.reason, row.detail, _to_text(row.small)] for row in shard.rejections
    ]
    text = json.dumps({"plan": _digest(plan), "kept": kept, "rejected": rejected})
    temporary = plan.journal.with_suffix(f".{uuid.uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, plan.journal)


def load(plan: Plan) -> Shard | None:
    """Returns the shard of a plan; None if it is absent, incomplete or written by another plan."""
    try:
        journal = json.loads(plan.journal.read_text(encoding="utf-8"))
        with contextlib.closing(ArrayRecordReader(str(plan.path))) as reader:
            stored = reader.num_records()
    except (OSError, ValueError, RuntimeError):  # absent, or cut off when its machine stopped
        return None
    if journal["plan"] != _digest(plan) or stored != len(journal["kept"]):
        return None
    planned = {recording.record_id: recording for recording in plan.recordings}
    kept = [
        Kept(planned[record_id], flags, digest, valid_samples, _from_text(small), sketch)
        for record_id, flags, digest, valid_samples, small, sketch in journal["kept"]
    ]
    rejections = [
        Rejection(record_id, plan.split, reason, detail, _from_text(small))
        for record_id, reason, detail, small in journal["rejected"]
    ]
    return Shard(plan.path, plan.split, kept, rejections)


def _digest(plan: Plan) -> str:
    """Hash of a plan's request, so that no shard of another source or option is reused."""
    recordings = [
        [recording.record_id, repr(recording.location), recording.problem]
        for recording in plan.recordings
    ]
    request = [plan.about, plan.split, recordings, VERSION]
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()


def _to_text(small: np.ndarray | None) -> str | None:
    return None if small is None else base64.b64encode(small.astype("<i2").tobytes()).decode()


def _from_text(text: str | None) -> np.ndarray | None:
    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, len(LEADS))
