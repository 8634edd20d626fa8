"""A prepared data set reads as TFDS reads it; missing or damaged files are named at once."""

import resource
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ecgjax.data.records import SPLITS, Records
from ecgjax.errors import InputError


def test_order_and_content_equal_those_of_tfds(records, prepared):
    builder = tfds.builder_from_directory(prepared)
    assert sum(len(records.split(split)) for split in SPLITS) == len(records)
    for split in SPLITS:
        source = builder.as_data_source(split)
        indices = records.split(split)
        assert len(source) == len(indices)
        for example, index, signal in zip(source, indices, records.read(indices), strict=True):
            assert records.row(index)["record_id"] == example["record_id"].decode()
            np.testing.assert_array_equal(signal, example["signal"])


def test_read_returns_recordings_in_the_order_of_the_indices(records):
    everything = records.read(np.arange(len(records)))
    assert everything.shape == (len(records), 1000, 12) and everything.dtype == np.int16
    asked = np.random.default_rng(0).permutation(len(records)).repeat(2)
    np.testing.assert_array_equal(records.read(asked), everything[asked])


def test_patients_are_numbers_for_patient_ids(records):
    ids = np.array(records.table["patient_id"].to_pylist())
    assert len(set(ids)) == 36
    np.testing.assert_array_equal(
        records.patients[:, None] == records.patients[None, :], ids[:, None] == ids[None, :]
    )


def test_labels_follow_their_indices(records):
    rows = [3, 50, 3, len(records) - 1]
    assert records.labels(rows) == [records.row(row)["labels"] for row in rows]


def test_rate_samples_and_name_come_from_the_table(records):
    assert (records.rate_hz, records.samples) == (100.0, 1000)
    assert records.name.startswith("synthetic/100hz")


def test_a_folder_above_the_data_set_may_be_given(records, prepared):
    assert Records(prepared.parents[2]).path == prepared


@pytest.mark.parametrize("limits", [(100, 4096), (100, resource.RLIM_INFINITY)])
def test_the_limit_of_open_files_is_raised_for_many_shards(prepared, monkeypatch, limits):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: asked.append(new))
    Records(prepared)
    assert asked == [(515, limits[1])]  # 3 shards


def test_more_shards_than_the_limit_of_open_files_are_refused(prepared, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (100, 500))
    with pytest.raises(InputError, match="3 shards, but a process may open 500 files"):
        Records(prepared)


@pytest.fixture
def copy(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "copy")


def _shard(folder):
    return next(folder.glob("*-train.array_record-*"))


def _cut(folder):
    shard = _shard(folder)
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    return shard, "damaged or cut short"


def _empty(folder):
    _shard(folder).write_bytes(b"")
    return _shard(folder), "damaged or cut short"


def _missing(folder):
    shard = _shard(folder)
    shard.unlink()
    return shard, "is missing"


def _other_split(folder):
    shard = _shard(folder)
    shutil.copy(next(folder.glob("*-test.array_record-*")), shard)
    return shard, "damaged or cut short"


def _garbled_table(folder):
    (folder / "records.parquet").write_bytes(b"PAR1 not any more")
    return folder / "records.parquet", "prepare"


def _foreign_table(folder):
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"x": [1]}), folder / "records.parquet")
    return folder / "records.parquet", "prepare"


def _without_features(folder):
    (folder / "features.json").unlink()
    return folder, "features.json"


def _garbled_info(folder):
    (folder / "dataset_info.json").write_text("{")
    return folder, "dataset_info.json"


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _empty,
        _missing,
        _other_split,
        _garbled_table,
        _foreign_table,
        _without_features,
        _garbled_info,
    ],
)
def test_a_damaged_file_is_refused_by_name(copy, damage):
    culprit, message = damage(copy)
    with pytest.raises(InputError) as error:
        Records(copy)
    text = str(error.value)
    assert str(culprit) in text and message in text and "\n" not in text


def test_a_flipped_bit_in_a_recording_is_detected_at_reading(copy):
    shard = _shard(copy)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    records = Records(copy)
    with pytest.raises(InputError, match=f"{shard}: damaged"):
        records.read(records.split("train"))


def test_folders_without_a_data_set_are_refused(tmp_path, prepared):
    for path, message in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path, "no prepared data set"),
        (prepared / "records.parquet", "no such folder"),
    ):
        with pytest.raises(InputError, match=message) as error:
            Records(path)
        assert str(path) in str(error.value)


def test_two_data_sets_below_a_folder_are_refused(copy):
    shutil.copytree(copy, copy.parent / "other")
    with pytest.raises(InputError, match="2 prepared data sets"):
        Records(copy.parent)


def test_absent_split_is_refused(records):
    with pytest.raises(
        InputError, match="no recording in split 'dev'; known: train, validation, test"
    ):
        records.split("dev")
