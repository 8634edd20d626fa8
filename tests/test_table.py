"""Columns of records.parquet: valid samples, leads of the data set, columns of the user's table."""

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_datasets as tfds
from etils import epath

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import MISSING
from tfds_builders.conversion import builder, plan, shards, table
from tfds_builders.recording.recording import Recording, RecordingsConfig


class Padded(builder.RecordingsBuilder):
    """Recording n has 10 n samples; the rest of 50 is missing."""

    BUILDER_CONFIGS = [
        RecordingsConfig(name="tiny", rate_hz=100, samples=50, leads=("V1", "II", "I"))
    ]
    pkg_dir_path = epath.Path(__file__).parent  # TFDS finds no folder for a single module
    patient_key = b"padded"
    recordings_per_shard = 2

    def find_recordings(self):
        return [
            Recording(
                record_id=f"r{number}",
                source_patient_id=str(number),
                split="train",
                location=number,
                extra=(("ward", f"w{number}"),) if number % 2 else (),
            )
            for number in range(1, 6)
        ]

    def read_recording(self, recording):
        signal = np.random.default_rng(recording.location).integers(-900, 900, (50, 12))
        signal[10 * recording.location :] = MISSING
        return {"signal": signal.astype(np.int16)}


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def padded(request, tmp_path_factory):
    run = functools.partial(shards.write_all, workers=request.param)
    folder = tmp_path_factory.mktemp("padded")
    made = Padded(data_dir=folder, source=folder, run=run)
    made.download_and_prepare()
    return Path(made.data_dir)


def test_valid_samples_end_where_all_leads_are_missing(padded):
    records = Records(padded)
    assert records.valid_samples.tolist() == [10, 20, 30, 40, 50]
    assert records.valid_samples.dtype == np.int32
    present = (records.read(range(5)) != MISSING).any(axis=2).sum(axis=1)
    assert present.tolist() == records.valid_samples.tolist()


def test_leads_are_those_that_the_data_set_holds_in_their_order(padded):
    assert Records(padded).leads == ("I", "II", "V1")


def test_columns_of_the_users_table_follow_as_text(padded):
    rows = Records(padded).table
    assert rows.column_names == [*table.SCHEMA.names, "ward"]
    assert rows["ward"].type == pa.string()
    assert rows["ward"].to_pylist() == ["w1", None, "w3", None, "w5"]


def test_the_data_set_is_of_version_2_and_tfds_reads_it(padded):
    assert padded.name == "2.0.0" and Records(padded).name == "padded/tiny:2.0.0"
    source = tfds.builder_from_directory(padded).as_data_source("train")
    assert [example["record_id"].decode() for example in source] == ["r1", "r2", "r3", "r4", "r5"]


@pytest.mark.parametrize("name", ["age", "waveform_hash", "valid_samples"])
def test_a_kept_column_never_replaces_one_of_the_format(name):
    recording = Recording(
        record_id="a", source_patient_id="p", split="train", location=0, extra=((name, "x"),)
    )
    kept = plan.Kept(recording, [], "0" * 32, 50)
    with pytest.raises(InputError, match=f"column '{name}' is kept, but .*; rename it"):
        table.make([kept], patient_key=b"key", about={})
