"""Writing shards: one worker process reads the recordings of a shard and writes those that can be read."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tensorflow_datasets.core import example_serializer

from ecgjax.signals import LEADS, InputError
from tfds_builders import quality
from tfds_builders.report import Rejection

if TYPE_CHECKING:
    from tfds_builders.conversion import Recording, RecordingsBuilder, RecordingsConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """A shard to write."""

    path: Path
    split: str
    recordings: Sequence["Recording"]


@dataclasses.dataclass(frozen=True)
class Kept:
    """A recording that was written."""

    recording: "Recording"
    quality: list[str]
    waveform_hash: str
    """First 32 hex digits of the SHA-256 of the int16 samples."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """What became of the recordings of a shard, each list in the order of the plan."""

    path: Path
    split: str
    kept: list[Kept]
    rejections: list[Rejection]


def write_all(builder: "RecordingsBuilder", plans: Sequence[Plan], workers: int) -> Iterator[Shard]:
    """Writes the shards in order of the plans; one worker is this very process."""
    builders = [builder] * len(plans)
    if workers == 1:
        yield from map(write, builders, plans)
        return
    # spawn: the caller may have started JAX, whose threads do not survive a fork.
    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(write, builders, plans)
    except concurrent.futures.process.BrokenProcessPool as error:
        problem = f"{builder.name}: a worker process was killed (out of memory?)"
        raise InputError(f"{problem}; use fewer --workers than {workers}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def write(builder: "RecordingsBuilder", plan: Plan) -> Shard:
    """Writes one shard: TFDS's examples, uncompressed since ECGs hardly shrink, each readable on its own."""
    features = builder.features()
    specs: Any = features.get_serialized_info()
    serializer = example_serializer.ExampleSerializer(specs)
    config = builder.builder_config
    shard = Shard(plan.path, plan.split, kept=[], rejections=[])
    with contextlib.closing(ArrayRecordWriter(str(plan.path), "group_size:1,uncompressed")) as writer:
        for recording in plan.recordings:
            try:
                example = builder.read_recording(recording)
                _check(example["signal"], config, recording.record_id)
            except InputError as error:
                reason = getattr(error, "reason", "unreadable")
                shard.rejections.append(Rejection(recording.record_id, plan.split, reason, str(error)))
                continue
            encoded = features.encode_example({"record_id": recording.record_id, **example})
            # deterministic: a proto's map is otherwise written in another order by another process.
            writer.write(serializer.get_tf_example(encoded).SerializeToString(deterministic=True))
            shard.kept.append(_kept(recording, example["signal"], config.rate_hz))
    return shard


def _kept(recording: "Recording", signal: np.ndarray, rate_hz: float) -> Kept:
    digest = hashlib.sha256(signal.tobytes()).hexdigest()[:32]
    return Kept(recording, quality.flags(signal, rate_hz), digest)


def _check(signal: np.ndarray, config: "RecordingsConfig", record_id: str) -> None:
    if signal.dtype != np.int16 or signal.ndim != 2 or signal.shape[1] != len(LEADS):
        given = f"{signal.dtype} {list(signal.shape)}"
        raise TypeError(f"{record_id}: read_recording gave {given}, not int16 [time, 12]")
    if len(signal) != config.samples:
        problem = f"recording {record_id}: {len(signal)} samples instead of {config.samples}"
        raise quality.RecordingError("length", f"{problem}; fetch it again, or leave it out")


def verify(shards: Sequence[Shard], found: int) -> None:
    """Checks against the files that all recordings are written or rejected, and that some are written."""
    for shard in shards:
        with contextlib.closing(ArrayRecordReader(str(shard.path))) as reader:
            if (stored := reader.num_records()) != len(shard.kept):
                problem = f"{shard.path}: holds {stored} of {len(shard.kept)} recordings"
                raise OSError(f"{problem}; is the disk full?")
    written = sum(len(shard.kept) for shard in shards)
    rejected = sum(len(shard.rejections) for shard in shards)
    if written + rejected != found:
        raise RuntimeError(f"found {found} recordings, wrote {written} and rejected {rejected}")
    if not written:
        why = next(shard.rejections[0].detail for shard in shards if shard.rejections)
        raise InputError(f"all {found} recordings were rejected, the first because {why}")
