"""Reading of the recordings of a chunk, in this process or in a worker."""

from collections.abc import Sequence

import numpy as np

from ecgjax.signals import LEADS
from tfds_builders.conversion import outcome
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.conversion.plan import Rejection
from tfds_builders.raw_files.samples import Samples
from tfds_builders.recording.recording import Recording


def read_all(builder: RecordingsBuilder, recordings: Sequence[Recording]) -> Samples:
    """Reads recordings; one that is rejected does not stop the others."""
    config = builder.builder_config
    signals = np.empty((len(recordings), config.samples, len(LEADS)), np.int16)
    valid_samples: list[int] = []
    flags: list[list[str]] = []
    rejections: list[tuple[str, str] | None] = []
    for recording in recordings:
        found = _read(builder, recording)
        if isinstance(found, Rejection):
            rejections.append((found.reason, found.detail))
            continue
        signals[len(flags)] = found.signal
        valid_samples.append(found.kept.valid_samples)
        flags.append(found.kept.quality)
        rejections.append(None)
    return Samples(signals[: len(flags)], np.array(valid_samples, np.int32), flags, rejections)


def _read(builder: RecordingsBuilder, recording: Recording) -> outcome.Accepted | Rejection:
    try:
        return outcome.read(builder, recording)
    except OSError as error:  # the file was deleted, or its disk fails
        problem = f"{builder.source}/{recording.record_id}: {error.strerror or error}"
        detail = f"{problem}; run again when the file can be read"
        return Rejection(recording.record_id, recording.split, "unreadable", detail)
