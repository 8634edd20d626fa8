"""Shards: a worker reads the recordings of a plan and writes those that can be read."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tensorflow_datasets.core import example_serializer

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import journal
from tfds_builders.conversion.plan import Kept, Plan, Shard
from tfds_builders.conversion.report import Rejection
from tfds_builders.conversion.thumbnails import DRAWN, shrink
from tfds_builders.recording import quality
from tfds_builders.recording.recording import Recording, RecordingsConfig

if TYPE_CHECKING:
    from tfds_builders.conversion.builder import RecordingsBuilder


OPTIONS = "group_size:1,uncompressed"
"""Uncompressed since ECGs hardly shrink, each readable on its own."""


def write_all(
    builder: "RecordingsBuilder", plans: Sequence[Plan], *, workers: int
) -> Iterator[Shard]:
    """The shards in order of the plans; written by one worker, this very process, or several, unless they are there.

    Raises:
      InputError: a worker was killed, or a shard is not there although it was written.
    """
    shards = [journal.load(plan) for plan in plans]
    writing = _write_in_order(
        builder, [plan for plan, shard in zip(plans, shards, strict=True) if not shard], workers
    )
    for plan, shard in zip(plans, shards, strict=True):
        if not shard:
            next(writing)
        yield shard or written(plan)


def written(plan: Plan) -> Shard:
    """The shard of a plan that was written.

    Raises:
      InputError: it is not there, or not wholly.
    """
    shard = journal.load(plan)
    if shard is None:
        raise InputError(
            f"{plan.path}: was not written, or not wholly (is the disk full?); run again"
        )
    return shard


def _write_in_order(
    builder: "RecordingsBuilder", plans: Sequence[Plan], workers: int
) -> Iterator[None]:
    builders = [builder] * len(plans)
    if workers == 1:
        yield from map(write, builders, plans)
        return
    # spawn: the caller may have started JAX, whose threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    try:
        yield from pool.map(write, builders, map(without_patients, plans))
    except concurrent.futures.process.BrokenProcessPool as error:
        problem = f"{builder.name}: a worker process was killed (out of memory?)"
        raise InputError(
            f"{problem}; run again with fewer --workers than {workers}: it goes on"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Lest a worker go on, and wait for ever, when the conversion itself is killed."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def without_patients(plan: Plan) -> Plan:
    """The plan for another process or machine, to which it matters not whose the recordings are."""
    recordings = [
        dataclasses.replace(recording, source_patient_id="") for recording in plan.recordings
    ]
    return dataclasses.replace(plan, recordings=recordings)


def write(builder: "RecordingsBuilder", plan: Plan) -> None:
    """Writes one shard of TFDS's examples, and then its journal."""
    passing = plan.path.with_suffix(f".{uuid.uuid4().hex}")  # whoever else is at the same shard
    with contextlib.closing(ArrayRecordWriter(str(passing), OPTIONS)) as writer:
        shard = _write(builder, plan, writer)
    os.replace(passing, plan.path)
    journal.save(plan, shard)


def _write(builder: "RecordingsBuilder", plan: Plan, writer: ArrayRecordWriter) -> Shard:
    features = builder.features()
    specs: Any = features.get_serialized_info()
    serializer = example_serializer.ExampleSerializer(specs)
    config = builder.builder_config
    shard = Shard(plan.path, plan.split, kept=[], rejections=[])
    for recording in plan.recordings:
        signal = None
        try:
            example = builder.read_recording(recording)
            signal = _check(example["signal"], config, recording.record_id)
            quality.require_ecg(signal, f"recording {recording.record_id}")
        except InputError as error:
            reason, small = (
                getattr(error, "reason", "unreadable"),
                None if signal is None else shrink(signal),
            )
            shard.rejections.append(
                Rejection(recording.record_id, plan.split, reason, str(error), small)
            )
            continue
        encoded = features.encode_example({"record_id": recording.record_id, **example})
        # deterministic: a proto's map is otherwise written in another order by another process.
        writer.write(serializer.get_tf_example(encoded).SerializeToString(deterministic=True))
        shard.kept.append(_kept(recording, signal, config.rate_hz))
    return dataclasses.replace(
        shard, kept=_draw_few(shard.kept), rejections=_draw_few(shard.rejections)
    )


def _kept(recording: Recording, signal: np.ndarray, rate_hz: float) -> Kept:
    digest = hashlib.sha256(signal.tobytes()).hexdigest()[:32]
    flags = quality.flags(signal, rate_hz)
    return Kept(recording, flags, digest, shrink(signal) if flags else None)


Drawn = TypeVar("Drawn", Kept, Rejection)


def _draw_few(rows: list[Drawn]) -> list[Drawn]:
    """Without the drawings that the report will not show, since a million recordings may have flags."""
    seen: Counter[str] = Counter()
    few = []
    for row in rows:
        seen[row.kind] += row.small is not None
        few.append(
            row
            if row.small is None or seen[row.kind] <= DRAWN
            else dataclasses.replace(row, small=None)
        )
    return few


def _check(signal: np.ndarray, config: RecordingsConfig, record_id: str) -> np.ndarray:
    if signal.dtype != np.int16 or signal.ndim != 2 or signal.shape[1] != len(LEADS):
        given = f"{signal.dtype} {list(signal.shape)}"
        raise TypeError(f"{record_id}: read_recording gave {given}, not int16 [time, 12]")
    if len(signal) != config.samples:
        problem = f"recording {record_id}: {len(signal)} samples instead of {config.samples}"
        raise quality.RecordingError("length", f"{problem}; fetch it again, or leave it out")
    return signal


PRECEDENCE = ("test", "validation", "train")
"""Of two recordings with the same samples, the one in the split that comes first here stays."""


def without_duplicates(shards: Sequence[Shard]) -> list[Shard]:
    """The shards without recordings whose samples another one has too; those are rejected, naming both.

    The files are rewritten. Of several in a split, the first stays.
    """
    first: dict[str, Kept] = {}
    for split in PRECEDENCE:
        for kept in (kept for shard in shards if shard.split == split for kept in shard.kept):
            first.setdefault(kept.waveform_hash, kept)
    return [_without(shard, first) for shard in shards]


def _without(shard: Shard, first: dict[str, Kept]) -> Shard:
    stay = [first[kept.waveform_hash] is kept for kept in shard.kept]
    if all(stay):
        return shard
    _rewrite(shard.path, stay)
    rejections = list(shard.rejections)
    for kept, stays in zip(shard.kept, stay, strict=True):
        if not stays:
            mine, other = kept.recording, first[kept.waveform_hash].recording
            problem = f"recording {mine.record_id}: the same samples as {other.record_id} in {other.split}"
            rejections.append(
                Rejection(
                    mine.record_id,
                    shard.split,
                    "duplicate",
                    f"{problem}; leave one out",
                    kept.small,
                )
            )
    left = [kept for kept, stays in zip(shard.kept, stay, strict=True) if stays]
    return dataclasses.replace(shard, kept=left, rejections=rejections)


def _rewrite(path: Path, stay: Sequence[bool]) -> None:
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        examples = (
            reader.read([index for index, stays in enumerate(stay) if stays]) if any(stay) else []
        )
    with contextlib.closing(ArrayRecordWriter(str(path), OPTIONS)) as writer:
        for example in examples:
            writer.write(example)


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
