"""Shards: workers read the recordings of a plan and write those that are not rejected."""

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import multiprocessing
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from ecgjax.data.sketches import sketch, to_text
from ecgjax.errors import InputError
from tfds_builders.conversion import journal, outcome
from tfds_builders.conversion.examples import Serializer
from tfds_builders.conversion.plan import Kept, Plan, RecordingReader, Rejection, Shard
from tfds_builders.conversion.thumbnails import DRAWN

OPTIONS = "group_size:1,uncompressed"
"""ArrayRecord options: each example can be read on its own, uncompressed since compression saves
little on ECGs."""


def write_all(builder: RecordingReader, plans: Sequence[Plan], *, workers: int) -> Iterator[Shard]:
    """Yields the shards in the order of the plans and writes those that are absent.

    Args:
      builder: reads the recordings.
      plans: the shards.
      workers: number of worker processes; 1 writes in this process.

    Raises:
      InputError: a worker was killed, or a shard was written but is absent or incomplete.
    """
    shards = [journal.load(plan) for plan in plans]
    absent = [plan for plan, shard in zip(plans, shards, strict=True) if not shard]
    writing = _write_in_order(builder, absent, workers)
    for plan, shard in zip(plans, shards, strict=True):
        if not shard:
            next(writing)
        yield shard or load_written(plan)


def load_written(plan: Plan) -> Shard:
    """Returns the shard of a plan that was written.

    Raises:
      InputError: it is absent or incomplete.
    """
    shard = journal.load(plan)
    if shard is None:
        raise InputError(f"{plan.path}: is absent or incomplete (is the disk full?); run again")
    return shard


def _write_in_order(
    builder: RecordingReader, plans: Sequence[Plan], workers: int
) -> Iterator[None]:
    builders = [builder] * len(plans)
    if workers == 1:
        yield from map(write, builders, plans)
        return
    # spawn: the caller may have started JAX, whose threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, initializer=exit_with_parent)
    try:
        yield from pool.map(write, builders, map(without_patients, plans))
    except concurrent.futures.process.BrokenProcessPool as error:
        problem = f"{builder.name}: a worker process was killed (out of memory?)"
        remedy = f"run again with fewer --workers than {workers} to continue"
        raise InputError(f"{problem}; {remedy}") from error
    finally:
        pool.shutdown(cancel_futures=True)


def exit_with_parent() -> None:
    """Exits when the parent process ends; otherwise the worker would wait forever."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def without_patients(plan: Plan) -> Plan:
    """Returns a copy of the plan without patient ids, to be sent to another process or machine."""
    recordings = [
        dataclasses.replace(recording, source_patient_id="") for recording in plan.recordings
    ]
    return dataclasses.replace(plan, recordings=recordings)


def write(builder: RecordingReader, plan: Plan) -> None:
    """Writes one shard of TFDS's examples, then its journal."""
    # A name of its own: another worker may be writing the same shard.
    temporary = plan.path.with_suffix(f".{uuid.uuid4().hex}")
    with contextlib.closing(ArrayRecordWriter(str(temporary), OPTIONS)) as writer:
        shard = _write(builder, plan, writer)
    os.replace(temporary, plan.path)
    journal.save(plan, shard)


def _write(builder: RecordingReader, plan: Plan, writer: ArrayRecordWriter) -> Shard:
    serializer = Serializer(builder.features())
    kept: list[Kept] = []
    rejections: list[Rejection] = []
    for recording in plan.recordings:
        found = outcome.read(builder, recording)
        if isinstance(found, Rejection):
            rejections.append(found)
            continue
        writer.write(serializer.serialize(recording.record_id, found.signal, found.features))
        kept.append(_with_sketch(found, builder.builder_config.rate_hz))
    return Shard(plan.path, plan.split, _limit_thumbnails(kept), _limit_thumbnails(rejections))


def _with_sketch(found: outcome.Accepted, rate_hz: float) -> Kept:
    valid_samples = np.array([found.kept.valid_samples])
    drawn = sketch(found.signal[None], rate_hz=rate_hz, valid_samples=valid_samples)
    return dataclasses.replace(found.kept, sketch=to_text(drawn)[0])


Row = TypeVar("Row", Kept, Rejection)


def _limit_thumbnails(rows: list[Row]) -> list[Row]:
    """Drops thumbnails that the report will not show, since a million recordings may have flags."""
    count: Counter[str] = Counter()
    limited = []
    for row in rows:
        count[row.kind] += row.small is not None
        drop = row.small is not None and count[row.kind] > DRAWN
        limited.append(dataclasses.replace(row, small=None) if drop else row)
    return limited


PRECEDENCE = ("test", "validation", "train")
"""Splits in the order that decides which of two recordings with the same samples is kept."""


def without_duplicates(shards: Sequence[Shard]) -> list[Shard]:
    """Returns the shards without duplicates: recordings with the same samples as another one.

    Of several in a split, the first one is kept. The others become rejections that name both, and
    their files are rewritten.
    """
    original: dict[str, Kept] = {}
    for split in PRECEDENCE:
        for row in (row for shard in shards if shard.split == split for row in shard.kept):
            original.setdefault(row.waveform_hash, row)
    return [_reject_duplicates(shard, original) for shard in shards]


def _reject_duplicates(shard: Shard, original: dict[str, Kept]) -> Shard:
    unique = [original[row.waveform_hash] is row for row in shard.kept]
    if all(unique):
        return shard
    _rewrite(shard.path, [index for index, is_unique in enumerate(unique) if is_unique])
    rejections = list(shard.rejections)
    for row, is_unique in zip(shard.kept, unique, strict=True):
        if not is_unique:
            other = original[row.waveform_hash].recording
            record_id = row.recording.record_id
            detail = f"recording {record_id}: the same samples as {other.record_id}"
            detail += f" in {other.split}; leave one out"
            rejections.append(Rejection(record_id, shard.split, "duplicate", detail, row.small))
    kept = [row for row, is_unique in zip(shard.kept, unique, strict=True) if is_unique]
    return dataclasses.replace(shard, kept=kept, rejections=rejections)


def _rewrite(path: Path, indices: list[int]) -> None:
    """Rewrites a shard with the examples at `indices` alone."""
    with contextlib.closing(ArrayRecordReader(str(path))) as reader:
        examples = reader.read(indices) if indices else []
    with contextlib.closing(ArrayRecordWriter(str(path), OPTIONS)) as writer:
        for example in examples:
            writer.write(example)


def verify(shards: Sequence[Shard], recordings: int) -> None:
    """Checks against the files that all recordings are written or rejected.

    Args:
      shards: the shards as they are on disk.
      recordings: number of recordings in all plans together.

    Raises:
      OSError: a file holds fewer recordings than were written to it.
    """
    for shard in shards:
        with contextlib.closing(ArrayRecordReader(str(shard.path))) as reader:
            stored = reader.num_records()
        if stored != len(shard.kept):
            problem = f"{shard.path}: holds {stored} of {len(shard.kept)} recordings"
            raise OSError(f"{problem}; is the disk full?")
    written = sum(len(shard.kept) for shard in shards)
    rejected = sum(len(shard.rejections) for shard in shards)
    if written + rejected != recordings:
        counts = f"wrote {written} and rejected {rejected}"
        raise RuntimeError(f"found {recordings} recordings, {counts}; report this as a bug")
