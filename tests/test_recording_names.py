"""Names of recordings as people write them, and names that must not be confused."""

import hmac

import pyarrow as pa
import pytest

from ecgjax.errors import InputError
from ecgjax.workflows.own_table import read_table
from ecgjax.workflows.recording_names import RecordingNames
from ecgjax.workflows.row_join import join


class Columns:
    """The columns of a data set that names are looked up in."""

    path = "prepared"

    def __init__(self, name, ids, patients=None):
        self.name = name
        self._columns = {
            "record_id": ids,
            "patient_id": patients or [f"{k:032x}" for k in range(len(ids))],
        }

    def __len__(self):
        return len(self._columns["record_id"])

    def column(self, name):
        return pa.chunked_array([self._columns[name]])


def own_files(folder, files):
    """Returns a data set of own files, record ids 000...0, 000...1, ..., and its key."""
    ids = [f"{k:024x}" for k in range(len(files))]
    key = folder / "key"
    key.write_bytes(b"k" * 32)
    rows = [
        f"arrays/100hz:2.0.0,/src,{record},{file}" for record, file in zip(ids, files, strict=True)
    ]
    header = "dataset,source,record_id,file"
    (folder / "key.arrays.csv").write_text("\n".join([header, *rows]) + "\n")
    return Columns("arrays/100hz:2.0.0", ids), key


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("a/001.dat", [0]),
        ("a/001", [0]),
        ("./a/001.hea", [0]),
        (r"a\001.DAT", [0]),
        ("/mnt/src/a/001.dat", [0]),
        ("A/001.dat", [0]),
        ("002.dat", [2]),
        ("a/1", [0]),
        ("000000000000000000000002", [2]),
        ("many.npz", [3, 4]),
        ("many.npz#1", [4]),
        ("001.dat", []),  # a/001.dat or b/001.dat
        ("c/002.dat", []),  # a file of this name in another folder is another file
        ("01.dat", []),
        ("", []),
        ("7", []),
    ],
)
def test_file_is_found_however_it_is_written_unless_it_could_be_another(tmp_path, name, numbers):
    files = ["a/001.dat", "b/001.dat", "a/002.dat", "many.npz#0", "many.npz#1"]
    records, key = own_files(tmp_path, files)
    assert RecordingNames(records, key).find([name, "nobody", name]) == [numbers, [], numbers]


@pytest.mark.parametrize("name", ["17", "17.0", "00017", "records100/00000/00017_lr", "00017_hr"])
def test_number_of_a_public_data_set_needs_no_zeros(name):
    records = Columns("ptb_xl/100hz:2.0.0", ["00016", "00017", "00170-w1", "00170-w2"])
    assert RecordingNames(records, None).find([name, "170"]) == [[1], [2, 3]]


def test_patient_is_found_by_its_identifier_or_hash_with_and_without_the_users_key(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    secrets = (b"ecgjax/ptb_xl", key.read_bytes())
    hashes = [hmac.digest(secret, b"15709", "sha256").hex()[:32] for secret in secrets]
    for patient in hashes:
        records = Columns("ptb_xl/100hz:2.0.0", ["1", "2"], ["0" * 32, patient])
        found = RecordingNames(records, key).find_patients(["15709", "15709.0", "1570", patient])
        assert found == [[1], [1], [], [1]]


@pytest.mark.parametrize(
    ("header", "cell", "remedy"),
    [
        ("file", "a/001.dat", "give the key of prepare as --patient-key"),
        ("weight", "70", "name one record_id, file or patient, or give --target-id COLUMN"),
    ],
)
def test_table_without_a_recording_is_explained_with_an_example_of_each_side(
    tmp_path, header, cell, remedy
):
    records, _ = own_files(tmp_path, ["a/001.dat"])
    path = tmp_path / "t.csv"
    path.write_text(f"{header},af\n{cell},1\n")
    with pytest.raises(InputError, match=remedy) as refused:
        join(records, read_table(path))
    assert header == "weight" or f"{cell!r}, the data set '{'0' * 24}'" in str(refused.value)


def test_patients_are_joined_only_if_no_column_names_recordings(tmp_path):
    records, key = own_files(tmp_path, ["a/001.dat", "a/002.dat"])
    path = tmp_path / "t.csv"
    path.write_text(f"patient;file\n{0:032x};a/002\n{1:032x};a/001\n")
    by_file = join(records, read_table(path), key=key)
    assert by_file.column == "file" and by_file.recordings.tolist() == [1, 0]
    by_patient = join(records, read_table(path), key=key, column="patient")
    assert by_patient.kind == "patient" and by_patient.recordings.tolist() == [0, 1]
