"""A prepared data set reads as TFDS reads it; missing or damaged files are named at once."""

import resource
import shutil
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from helpers import format_1

from ecgjax.data import binding
from ecgjax.data.migration import migrate
from ecgjax.data.records import SPLITS, Records
from ecgjax.errors import InputError
from ecgjax.launch import migrate as migrate_command
from ecgjax.signals import LEADS


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


@pytest.fixture
def old(copy):
    """The data set as format 1 had it."""
    return format_1.unbind(copy)


def _shard(folder):
    return next(folder.glob("*-train.array_record-*"))


def _refusal(folder, culprit):
    """Returns the message of the refusal, one line that names the culprit and a remedy."""
    with pytest.raises(InputError) as error:
        Records(folder)
    text = str(error.value)
    assert str(culprit) in text and "; " in text and "\n" not in text
    return text


def test_a_data_set_of_format_1_opens_with_a_line_that_names_the_remedy(old, records, capsys):
    opened = Records(old)
    line = capsys.readouterr().err
    assert line.startswith(f"warning: {old}: format 1") and line.count("\n") == 1
    assert line.endswith(f"; verify and bind it: python -m ecgjax.launch.migrate --data {old}\n")
    np.testing.assert_array_equal(opened.read([3, 1]), records.read([3, 1]))
    assert opened.valid_samples.tolist() == [1000] * len(records)
    assert opened.leads == LEADS and not opened.is_bound


def test_migration_verifies_and_binds_a_data_set_of_format_1(old, records, capsys):
    done = []
    migrate(Records(old, accept_unbound=True), lambda *counts: done.append(counts))
    assert done[-1] == (len(records), len(records))
    opened = Records(old)
    assert opened.is_bound and not capsys.readouterr().err
    assert opened.table.equals(records.table) and opened.leads == LEADS
    assert len(tfds.builder_from_directory(old).as_data_source("train")) > 0


def test_the_command_binds_a_data_set_and_then_verifies_it(old, records, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["migrate", "--data", str(old)])
    for done in ("verified, completed and bound by hashes", "verified"):
        migrate_command.main()
        assert capsys.readouterr().out == f"{old}: {len(records)} recordings {done}\n"


def test_migration_refuses_rows_that_do_not_belong_to_the_samples(old):
    table = pyarrow.parquet.read_table(old / "records.parquet")
    order = np.arange(len(table))
    order[[5, 9]] = order[[9, 5]]
    pyarrow.parquet.write_table(table.take(order), old / "records.parquet")
    with pytest.raises(InputError, match="its samples are not those of its row"):
        migrate(Records(old, accept_unbound=True), lambda done, total: None)
    assert not (old / binding.FILE).exists()


def test_a_data_set_that_lost_its_hashes_is_refused_and_can_be_bound_anew(copy, records):
    (copy / binding.FILE).unlink()
    assert "is missing; copy the whole folder, or verify and" in _refusal(copy, binding.FILE)
    migrate(Records(copy, accept_unbound=True), lambda done, total: None)
    assert Records(copy).fingerprint == records.fingerprint


def test_of_two_versions_the_newest_is_taken_with_a_line(copy, tmp_path, capsys):
    for version in ("1.0.0", "2.0.0", "10.0.0"):
        shutil.copytree(copy, tmp_path / "out/set/100hz" / version)
    opened = Records(tmp_path / "out")
    assert opened.path.name == "10.0.0"
    line = "holds versions 1.0.0, 2.0.0 and 10.0.0; taking 10.0.0"
    assert capsys.readouterr().err == f"warning: {tmp_path}/out: {line}\n"


def test_unfinished_and_deeper_folders_are_not_looked_at(copy, tmp_path):
    for folder in ("set/100hz/incomplete.K1LLED_2.0.0", ".hidden", "a/b/c/d"):
        shutil.copytree(copy, tmp_path / "out" / folder)
    with pytest.raises(InputError, match="no prepared data set"):
        Records(tmp_path / "out")


def test_a_shard_of_which_a_part_is_missing_is_refused_by_its_size(copy):
    shard = _shard(copy)
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[: size // 2])
    assert f"{size // 2:,} bytes instead of {size:,}; copy the file again" in _refusal(copy, shard)


def test_a_shard_of_format_1_of_which_a_part_is_missing_is_refused(old):
    shard = _shard(old)
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    assert "damaged or cut short (0 of" in _refusal(old, shard)


def test_a_flipped_bit_in_a_recording_is_detected_at_reading(copy):
    shard = _shard(copy)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    records = Records(copy)
    with pytest.raises(InputError, match=rf"{shard}: recording \d+ .* is damaged"):
        records.read(records.split("train"))


def test_waves_are_compared_with_their_recording_too(old):
    table = pyarrow.parquet.read_table(old / "records.parquet")
    order = np.roll(np.arange(len(table)), 1)
    order[0] = 0
    pyarrow.parquet.write_table(table.take(order), old / "records.parquet")
    with pytest.raises(InputError, match="are not those of its row"):
        Records(old).waves([4])


def test_a_column_without_a_needed_value_or_of_wrong_text_is_refused(old):
    file = old / "records.parquet"
    table = pyarrow.parquet.read_table(file)
    place = table.schema.get_field_index("patient_id")
    values = table["patient_id"].to_pylist()
    without = pyarrow.array([None, *values[1:]])
    pyarrow.parquet.write_table(table.set_column(place, "patient_id", without), file)
    with pytest.raises(InputError, match="records.parquet: .*patient_id has rows without a value"):
        _ = Records(old).patients
    wrong = pyarrow.array([b"\xff\xfe" * 16, *(value.encode() for value in values[1:])])
    wrong = wrong.view(pyarrow.string())
    pyarrow.parquet.write_table(table.set_column(place, "patient_id", wrong), file)
    with pytest.raises(InputError, match="records.parquet: damaged, or not .*UTF"):
        _ = Records(old).patients


def test_rows_that_changed_their_split_are_refused(old):
    file = old / "records.parquet"
    table = pyarrow.parquet.read_table(file)
    splits = table["split"].to_pylist()
    splits[-1] = "train"
    place = table.schema.get_field_index("split")
    pyarrow.parquet.write_table(table.set_column(place, "split", pyarrow.array(splits)), file)
    for split in ("train", "test"):
        with pytest.raises(InputError, match=f"rows of split {split} are not those of its shards"):
            Records(old).split(split)


def test_opening_does_not_import_tfds(prepared):
    code = f"import sys; from ecgjax.data.records import Records; Records({str(prepared)!r})"
    code += "; sys.exit('tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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
