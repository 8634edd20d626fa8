"""Application of a model to files and prepared data sets, for the commands embed and predict."""

import contextlib
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import ecgjax
from ecgjax.data.inference import divide
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.workflows.model_on_files.inputs import Inputs, open_inputs
from ecgjax.workflows.model_on_files.options import Reading, Share
from ecgjax.workflows.model_on_files.read_ahead import read_ahead
from ecgjax.workflows.model_on_files.result_table import ACCEPTED, FACTS, REJECTED, ResultTable
from tfds_builders.raw_files.samples import Chunk, Samples

Progress = Callable[[int, int], None]
"""Called as progress(recordings done, recordings in total)."""


@dataclasses.dataclass(frozen=True)
class ModelColumns:
    """The columns that a model adds to the table of recordings."""

    preprocessing: Preprocessing
    schema: pa.Schema
    compute: Callable[..., np.ndarray]
    """`embed_stored` or `predict_stored` of a model."""
    to_arrays: Callable[[np.ndarray, np.ndarray], list[pa.Array]]
    """Returns the columns from float32 [recording, result] and bool [recording], which is False for
    a rejected recording: its values are absent."""
    width: int
    """Number of results of a recording."""
    batch_size: int
    """Windows that are computed at once, at most."""
    about: dict[str, Any]
    """Model and settings that the values depend on, as JSON takes them."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The work of one process."""

    out: Path
    """File to write: .parquet, .csv or .npz."""
    share: Share = Share()
    workers: int = 1
    """Processes that read files while the device computes."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The outcome of a job."""

    out: Path
    """The file that was written."""
    summary: dict[str, Any]
    """Counts by "status", "reason" and "flag"; the "first" message of each reason."""
    computed: int
    """Recordings that were computed, not found finished by an earlier process."""
    seconds: float


def apply_to_files(
    model: ModelColumns,
    paths: Sequence[str | Path],
    reading: Reading,
    job: Job,
    *,
    progress: Progress = lambda done, total: None,
    show: Callable[[str], None] = lambda line: None,
) -> Report:
    """Writes the table of all recordings with the columns of the model.

    Killed at any time and called again with the same arguments, it continues and writes the same
    file.

    Args:
      model: the columns of the model.
      paths: files, folders or prepared data sets.
      reading: options for raw files.
      job: the file, and the share of this process.
      progress: called with the numbers of recordings done and in total.
      show: called with each line on what was found in `paths`.

    Raises:
      InputError: the input, an option or the file cannot be used.
    """
    if job.workers < 1:
        raise InputError(f"--workers {job.workers}: give 1 or more")
    out = job.share.file(job.out.expanduser())
    about = {"version": ecgjax.__version__, **model.about, "reading": reading.to_config()}
    with contextlib.closing(ResultTable(out, model.schema, about)) as table:
        inputs = open_inputs(
            paths,
            reading,
            model.preprocessing,
            scratch=table.scratch,
            out=out,
            share=job.share,
            workers=job.workers,
        )
        for line in inputs.lines:
            show(line)
        started = time.monotonic()
        computed = _complete_parts(model, inputs, table, job.workers, progress)
        digests = [unit.digest for unit in inputs.units]
        summary = table.summary(digests)
        table.finish(digests)
    return Report(out, summary, computed, time.monotonic() - started)


def _complete_parts(
    model: ModelColumns, inputs: Inputs, table: ResultTable, workers: int, progress: Progress
) -> int:
    """Computes the parts that are absent, and returns the number of recordings in them."""
    absent = [unit for unit in inputs.units if not table.has(unit.digest)]
    total = sum(unit.count for unit in inputs.units)
    done = total - sum(unit.count for unit in absent)
    batch_size = _batch_size(model, inputs)
    earlier = done
    for number, chunks in itertools.groupby(read_ahead(absent, workers), lambda item: item[0]):
        unit = absent[number]
        total -= unit.count  # files, until their recordings are counted
        with table.add_part(unit.digest) as part:
            for _, chunk, samples in chunks:
                rows = to_rows(model, chunk, samples, batch_size)
                part.write_table(rows)
                total += len(rows)
                done += len(rows)
                progress(done, max(total, done))
    for unit in absent:  # without a recording
        if not table.has(unit.digest):
            with table.add_part(unit.digest):
                pass
    return done - earlier


def to_rows(model: ModelColumns, chunk: Chunk, samples: Samples, batch_size: int) -> pa.Table:
    """Returns the rows of the recordings of a chunk.

    Raises:
      InputError: the model gives numbers that are not finite.
    """
    samples = _refuse_short(chunk, samples, model.preprocessing.seconds)
    accepted = np.array([rejection is None for rejection in samples.rejections], bool)
    results = np.full((len(accepted), model.width), np.nan, np.float32)
    if accepted.any():
        results[accepted] = model.compute(
            samples.signals, samples.valid_samples, rate_hz=chunk.rate_hz, batch_size=batch_size
        )
        if not np.isfinite(results[accepted]).all():
            problem = "the model's results for recordings that it accepts are not finite"
            raise InputError(f"{problem}; its weights are of no use, give another --checkpoint")
    flags = iter(samples.flags)
    columns: dict[str, Sequence[Any]] = dict(
        zip(chunk.facts[0]._fields, zip(*chunk.facts, strict=True), strict=True)
    )
    columns["status"] = [ACCEPTED if each else REJECTED for each in accepted]
    columns["reason"] = [rejection and rejection[0] for rejection in samples.rejections]
    columns["message"] = [rejection and rejection[1] for rejection in samples.rejections]
    columns["quality"] = [next(flags) if each else None for each in accepted]
    facts = [pa.array(columns[field.name], field.type) for field in FACTS]
    return pa.table(
        [*facts, *model.to_arrays(results, accepted)], schema=pa.schema([*FACTS, *model.schema])
    )


def _refuse_short(chunk: Chunk, samples: Samples, window_s: float) -> Samples:
    """Returns the samples without those filled up from less than the shortest window of a model.

    `Encoder.embed` refuses such recordings, too.
    """
    problems: list[str] = []
    for valid_samples in samples.valid_samples.tolist():
        try:
            divide(valid_samples, rate_hz=chunk.rate_hz, window_s=window_s)
            problems.append("")
        except InputError as error:
            problems.append(str(error))
    if not any(problems):
        return samples
    kept = np.array([not problem for problem in problems])
    remaining = iter(problems)
    rejections = []
    for facts, rejection in zip(chunk.facts, samples.rejections, strict=True):
        if rejection is None and (problem := next(remaining)):
            path = "/".join(filter(None, (facts.source, facts.file or facts.record_id)))
            rejection = ("length", f"{path}: without padding, {problem}")
        rejections.append(rejection)
    flags = list(itertools.compress(samples.flags, kept))
    return Samples(samples.signals[kept], samples.valid_samples[kept], flags, rejections)


def _batch_size(model: ModelColumns, inputs: Inputs) -> int:
    """Returns a batch size that suits few recordings, since batches are filled up.

    It depends on nothing but the input, so that results do not depend on interruptions.
    """
    count = sum(unit.count for unit in inputs.units)
    return min(model.batch_size, 1 << max(0, count - 1).bit_length())


def table_of_files(
    model: ModelColumns, paths: Sequence[str | Path], reading: Reading, workers: int
) -> pa.Table:
    """Returns the table of all recordings with the columns of the model, without writing it."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs = open_inputs(
            paths, reading, model.preprocessing, scratch=Path(scratch), workers=workers
        )
        batch_size = _batch_size(model, inputs)
        rows = [
            to_rows(model, chunk, samples, batch_size)
            for _, chunk, samples in read_ahead(inputs.units, workers)
        ]
    return pa.concat_tables(rows) if rows else pa.schema([*FACTS, *model.schema]).empty_table()
