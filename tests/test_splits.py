"""Splits of a user's own and folds: joined to recordings, and never across a patient."""

import csv
import hmac

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from ecgjax.data.records import SPLITS
from ecgjax.data.splits import LEFT_OUT, Splits, cross_validation, divide, strata
from ecgjax.errors import InputError
from ecgjax.workflows.own_splits import read_splits
from ecgjax.workflows.own_table import read_table
from ecgjax.workflows.row_join import join


def _column(records, name):
    return records.column(name).to_pylist()


def _write(path, header, rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


@pytest.fixture
def by_patient(records):
    """A split in words for each patient: the first ones are tested."""
    words = ["Holdout", "testing", "dev", "val", "Validation"]
    patients = dict.fromkeys(_column(records, "patient_id"))
    return dict(zip(patients, words + ["train"] * len(patients), strict=False))


def test_splits_of_the_data_set_are_the_default(records):
    splits = Splits(records)
    assert splits.names == SPLITS
    np.testing.assert_array_equal(splits.indices("test"), records.split("test"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_words_for_splits_are_understood_in_every_kind_of_table(
    records, by_patient, tmp_path, ending
):
    ids = _column(records, "record_id")
    words = [by_patient[patient] for patient in _column(records, "patient_id")]
    path = tmp_path / f"splits.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(
            pa.table({"age": [1.0] * len(ids), "ID": ids, "Set": words}), path
        )
    else:
        _write(path, ["ID", "Set"], zip(ids, words, strict=True), "\t" if ending == "tsv" else ",")
    (splits,) = read_splits(path, records)
    splits.refuse_shared()
    expected = {"test": {"Holdout", "testing"}, "validation": {"dev", "val", "Validation"}}
    for name, chosen in {**expected, "train": {"train"}}.items():
        rows = [row for row, word in enumerate(words) if word in chosen]
        assert splits.indices(name).tolist() == rows


def test_rows_and_recordings_without_each_other_are_counted_and_left_out(records, tmp_path, capsys):
    ids = _column(records, "record_id")
    rows = [(ids[0], "train"), (ids[1], ""), ("nobody", "test"), (ids[2], "test")]
    (splits,) = read_splits(_write(tmp_path / "s.csv", ["record", "split"], rows), records)
    assert [splits.indices(name).tolist() for name in splits.names] == [[0], [2]]
    line = f"3 of 4 rows match 3 of {len(ids)} recordings by"
    assert line in capsys.readouterr().err
    with pytest.raises(InputError, match=r"s\.csv: no recording in split 'validation'"):
        splits.indices("validation")


def test_numbers_are_folds_and_patients_are_hashed(records, by_patient, tmp_path):
    """A patient's own identifier is hashed with the key, here the public one of the data set."""
    hashes = {
        hmac.digest(b"ecgjax/synthetic", f"0-{number}".encode(), "sha256").hex()[:32]: f"0-{number}"
        for number in range(36)
    }
    assert hashes.keys() == set(_column(records, "patient_id"))
    rows = [(name, f"{number % 4}.0") for number, name in enumerate(sorted(hashes.values()))]
    every = read_splits(_write(tmp_path / "f.csv", ["patient", "fold"], rows), records)
    assert len(every) == 4
    tested = np.concatenate([splits.indices("test") for splits in every])
    assert sorted(tested) == list(range(len(records)))
    for splits in every:
        splits.refuse_shared()


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        (("id", "split"), ("trian",) * 9, "row 2: split 'trian' is no split; write train"),
        (("id", "group"), ("train",) * 9, "no column named split or fold; name one column"),
        (("id", "fold"), (1, 2, -1) * 3, "row 4: fold '-1' is no split"),
        (("id", "fold"), (1, 2) * 5, r"folds 1 \(5\), 2 \(4\) with recordings; give 3 folds"),
        (("nobody", "split"), ("train",) * 9, None),
    ],
)
def test_wrong_tables_are_one_line(records, tmp_path, header, cells, message):
    ids = _column(records, "record_id")[:9]
    path = _write(tmp_path / "s.csv", header, zip(ids, cells, strict=False))
    if message is None:  # any column may hold the names
        assert read_splits(path, records)
        return
    with pytest.raises(InputError, match=message):
        read_splits(path, records)


def test_recordings_in_two_splits_and_patients_across_splits_are_refused(records, tmp_path):
    ids = _column(records, "record_id")
    rows = [(ids[0], "train"), (ids[0], "test")]
    with pytest.raises(InputError, match=f"rows 2 and 3 put recording {ids[0]} into two splits"):
        read_splits(_write(tmp_path / "s.csv", ["id", "split"], rows), records)
    patients = _column(records, "patient_id")
    pair = next(row for row in range(len(ids)) if patients[row] == patients[row + 1])
    rows = [(ids[pair], "train"), (ids[pair + 1], "test")]
    (splits,) = read_splits(_write(tmp_path / "s.csv", ["id", "split"], rows), records)
    with pytest.raises(InputError, match=rf"{ids[pair]} \(train\) and .* are of one patient; give"):
        splits.refuse_shared()


class _OwnFiles:
    """Records of own files: record ids are keyed hashes of files."""

    name = "arrays/100hz:2.0.0"
    path = "prepared"

    def __init__(self, **columns):
        self._columns = {name: pa.chunked_array([values]) for name, values in columns.items()}

    def __len__(self):
        return len(self._columns["record_id"])

    def column(self, name):
        return self._columns[name]


def test_files_are_joined_through_the_table_beside_the_key(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"x" * 32)
    patient = hmac.digest(key.read_bytes(), b"P7", "sha256").hex()[:32]
    ids = ["aa-w1", "aa-w2", "bb", "cc"]
    records = _OwnFiles(record_id=ids, patient_id=["0" * 32, "0" * 32, "1" * 32, patient])
    files = ["north/1.xml", "north/1.xml", "south/1.xml", "south/2.xml"]
    header = ["dataset", "source", "record_id", "file"]
    rows = [("arrays/100hz:2.0.0", "/src", *pair) for pair in zip(ids, files, strict=True)]
    _write(tmp_path / "key.arrays.csv", header, rows)

    def joined(column, *cells):
        path = _write(tmp_path / "t.csv", [column, "y"], [(cell, 1) for cell in cells])
        found = join(records, read_table(path), key=key)
        return list(zip(found.rows.tolist(), found.recordings.tolist(), strict=True))

    assert joined("file", "north/1.xml", "south/2.xml") == [(0, 0), (0, 1), (1, 3)]
    # 1.xml alone could be either of two files; a path of another system ends with the whole name.
    assert joined("filename", "1.xml", r"D:\old\south\2.xml", "2") == [(1, 3), (2, 3)]
    assert joined("id", "aa", "bb") == [(0, 0), (0, 1), (1, 2)]
    assert joined("MRN", "P7", "P8") == [(0, 3)]
    path = _write(tmp_path / "t.csv", ["file", "y"], [("south/2.xml", 1)])
    with pytest.raises(
        InputError, match=r"none of 1 rows names a recording of prepared: it has file 'south/2"
    ):
        join(records, read_table(path))


def test_zeros_that_a_spreadsheet_dropped_are_no_difference(tmp_path):
    records = _OwnFiles(record_id=["00017", "00170"], patient_id=["0" * 32, "1" * 32])
    path = _write(tmp_path / "t.csv", ["ecg_id", "y"], [("17.0", 1), ("170", 2)])
    assert join(records, read_table(path)).recordings.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"PK", "a spreadsheet; save it as CSV, TSV or Parquet"),
        ("t.csv", b"id,split\n", "no row below the names of its columns"),
        ("t.csv", b"id,id,split\n1,2,train\n", "two columns 'id'; rename one of them"),
        ("t.parquet", b"PAR1", "cannot be read as Parquet"),
        (".", None, "a folder; give a table as CSV"),
        ("absent/t.csv", None, "no such file; give a table as CSV"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


def test_folds_hold_whole_patients_and_their_share_of_cases(records):
    cases = np.array([["PVC" in labels] for labels in _column(records, "labels")])
    every = np.arange(len(records))
    folds = divide(records, every, strata(cases), 4)
    np.testing.assert_array_equal(folds, divide(records, every, strata(cases), 4))
    for patient in np.unique(records.patients):
        assert len(set(folds[records.patients == patient])) == 1
    counts = [int(cases[folds == fold].sum()) for fold in range(4)]
    assert sum(counts) == cases.sum() and max(counts) - min(counts) <= 3
    divisions = cross_validation(records, folds)
    for fold, splits in enumerate(divisions):
        assert set(splits.indices("test")) == set(np.flatnonzero(folds == fold))
        parts = [splits.indices(name) for name in SPLITS]
        assert sorted(np.concatenate(parts)) == every.tolist()
        np.testing.assert_array_equal(parts[1], divisions[(fold + 1) % 4].indices("test"))


def test_recordings_without_a_target_are_in_no_fold(records):
    some = np.arange(0, len(records), 2)
    folds = divide(records, some, np.zeros(len(some), int), 3)
    assert set(np.flatnonzero(folds == LEFT_OUT)) == set(range(len(records))) - set(some.tolist())


@pytest.mark.parametrize(("number", "message"), [(2, "give 3 or more"), (37, "has 36 patients")])
def test_impossible_numbers_of_folds_are_refused(records, number, message):
    every = np.arange(len(records))
    with pytest.raises(InputError, match=f"--folds {number}: .*{message}"):
        divide(records, every, np.zeros(len(every), int), number)


def test_the_class_of_a_recording_is_its_rarest_one():
    cases = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], bool)
    classes = strata(cases)
    assert classes[0] == classes[2] and len(set(classes.tolist())) == 3
