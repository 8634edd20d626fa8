"""Random walks as a prepared data set for benchmarks, written by the code of `prepare`."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import tensorflow_datasets as tfds
from tensorflow_datasets.core import splits

from ecgjax.data.binding import FORMAT
from ecgjax.signals import LEADS
from tfds_builders.conversion import builder, table
from tfds_builders.recording.recording import Recording, RecordingsConfig

COHORT_SAMPLES = 8
"""Samples of a recording of `cohort`, which is paired only: the fewest that pass for an ECG."""


@dataclasses.dataclass(eq=False, kw_only=True)
class WalksConfig(RecordingsConfig):
    """Number of recordings; each patient has two."""

    recordings: int


class RandomWalks(builder.RecordingsBuilder):
    """Random walks instead of ECGs; their bytes cost the same."""

    BUILDER_CONFIGS = []
    patient_key = b"ecgjax/benchmarks"

    def find_recordings(self) -> list[Recording]:
        return [
            Recording(
                record_id=f"{number:08d}",
                source_patient_id=str(number // 2),
                split="train",
                location=number,
            )
            for number in range(self.builder_config.recordings)
        ]

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(recording.location)
        steps = rng.integers(-40, 41, (self.builder_config.samples, len(LEADS)))
        return {"signal": steps.cumsum(axis=0).astype(np.int16)}


def walks(folder: Path, *, recordings: int, samples: int) -> Path:
    """Writes a prepared data set of random walks into `folder` and returns its path."""
    return Path(_builder(folder, recordings, samples).data_dir)


def cohort(folder: Path, *, shards: int, patients: int) -> Path:
    """Writes a prepared data set of `shards` x 1,024 recordings of eight samples each.

    All shards are hard links to one file. A cohort of millions of recordings can thus be opened,
    paired and read without its terabyte of signals.

    Args:
      folder: folder to write to.
      shards: number of shards.
      patients: number of patients; each recording belongs to a random one.

    Returns:
      The path of the data set.
    """
    per_shard = RandomWalks.recordings_per_shard
    builder = _builder(folder, per_shard, samples=COHORT_SAMPLES)
    path = Path(builder.data_dir)
    template = builder._get_filename_template("train")
    (first,) = path.glob("*.array_record-*")
    original = first.rename(path / "original")
    for number in range(shards):
        os.link(original, template.sharded_filepath(shard_index=number, num_shards=shards))
    size_bytes = shards * original.stat().st_size
    info = tfds.core.SplitInfo(
        "train", [per_shard] * shards, size_bytes, filename_template=template
    )
    builder.info.set_splits(splits.SplitDict([info]))
    hashes = pa.parquet.read_table(path / table.FILE)["waveform_hash"].combine_chunks()
    rows = _table(pa.concat_arrays([hashes] * shards), patients)
    pa.parquet.write_table(rows, path / table.FILE)
    builder.info.write_to_directory(path)
    return path


def _builder(folder: Path, recordings: int, samples: int) -> RandomWalks:
    rate_hz = max(samples / 10, 1)
    config = WalksConfig(
        name=f"{samples}samples", rate_hz=rate_hz, samples=samples, recordings=recordings
    )
    builder = RandomWalks(config=config, data_dir=folder)
    builder.download_and_prepare()
    return builder


def _table(waveform_hashes: pa.Array, patients: int) -> pa.Table:
    """Returns a table in the format of `table.make`, of recordings of random patients."""
    recordings = len(waveform_hashes)
    rng = np.random.default_rng(0)
    binary = [pa.array(["a", "b"]).take(rng.integers(2, size=recordings)) for _ in range(3)]
    codes = pa.array(["NORM", "SR"] * recordings)
    ends = np.arange(recordings + 1, dtype=np.int32)
    columns = {
        "record_id": pa.array(range(recordings)).cast(pa.string()),
        "patient_id": _hashes(patients, rng).take(rng.integers(patients, size=recordings)),
        "recorded_at": pa.array(
            rng.integers(1_200_000_000, 1_700_000_000, recordings), pa.timestamp("s")
        ),
        "age": pa.array(rng.uniform(20, 90, recordings).astype(np.float32)),
        **dict(zip(("sex", "site", "device"), binary, strict=True)),
        "split": pa.array(["train"]).take(np.zeros(recordings, np.int8)),
        "fold": pa.array(np.ones(recordings, np.int8)),
        "labels": pa.ListArray.from_arrays(2 * ends, codes),
        "quality": pa.ListArray.from_arrays(0 * ends, codes),
        "waveform_hash": waveform_hashes,
        "valid_samples": pa.array(np.full(recordings, COHORT_SAMPLES, np.int32)),
        "sketch": waveform_hashes,
    }
    about = {"dataset": "random_walks/cohort:2.0.0", "rate_hz": 1, "samples": COHORT_SAMPLES}
    about |= {"format": FORMAT}
    return pa.table(columns, schema=table.SCHEMA.with_metadata({"ecgjax": json.dumps(about)}))


def _hashes(count: int, rng: np.random.Generator) -> pa.StringArray:
    """Returns random hashes of 32 hex digits."""
    ends = np.arange(0, 32 * count + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(
        count, pa.py_buffer(ends), pa.py_buffer(rng.bytes(16 * count).hex().encode())
    )
