"""The key table, beside the key of a user's own files."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from ecgjax.errors import InputError
from tfds_builders.conversion import builder, keeper
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig


class OwnFiles(builder.RecordingsBuilder):
    """A user's own files, whose locations are plain strings."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        RecordingsConfig(name="tiny", rate_hz=100, samples=50),
        RecordingsConfig(name="other", rate_hz=100, samples=50),
    ]
    pkg_dir_path = epath.Path(__file__).parent  # TFDS finds no folder for a single module
    patient_key = None
    source_files = {"a": "Jane Doe.dat", "b": "John Doe.dat"}

    def find_recordings(self):
        return [
            Recording(
                record_id=record_id,
                source_patient_id=file,
                split="train",
                location=file,
                source_file=file,
            )
            for record_id, file in self.source_files.items()
        ]

    def read_recording(self, recording):
        if recording.location.startswith("John"):
            raise InputError(f"{recording.location}: is not readable; export it again")
        if recording.location.startswith("Zoe"):
            raise RecordingError("units", f"{recording.location}: in mmHg; export it in mV")
        return {"signal": np.random.default_rng(0).integers(-900, 900, (50, 12)).astype(np.int16)}


def _convert(folder, out="out", config="tiny", source=None):
    own_files = OwnFiles(
        config=config, data_dir=folder / out, key_file=folder / "key", source=source
    )
    own_files.download_and_prepare()
    return epath.Path(own_files.data_dir)


def _rows(path):
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_the_table_beside_the_key_has_whole_file_names_and_details(tmp_path):
    prepared = _convert(tmp_path, source=tmp_path / "ward 7")
    first, second = _rows(tmp_path / "key.own_files.csv")
    assert first["converted_at"] == second["converted_at"] > "2020"
    shared = {"dataset": "own_files/tiny:1.0.0", "source": str(tmp_path / "ward 7")}
    shared["converted_at"] = first["converted_at"]
    detail = "John Doe.dat: is not readable; export it again"
    empty = {"reason": "", "detail": ""}
    assert first == shared | {"record_id": "a", "file": "Jane Doe.dat"} | empty
    problem = {"reason": "unreadable", "detail": detail}
    assert second == shared | {"record_id": "b", "file": "John Doe.dat"} | problem
    (rejection,) = json.loads((prepared / "report.json").read_text())["rejections"]
    assert rejection["reason"] == "unreadable" and rejection["detail"] == keeper.NO_DETAIL
    for file in prepared.iterdir():
        assert b"Doe" not in file.read_bytes(), file.name
        assert b"ward 7" not in file.read_bytes(), file.name


def test_a_second_conversion_keeps_the_rows_of_the_first(tmp_path, monkeypatch):
    _convert(tmp_path, source=tmp_path / "one")
    before = (tmp_path / "key.own_files.csv").read_bytes()
    monkeypatch.setattr(OwnFiles, "source_files", {"a": "Max Roe.dat"})
    _convert(tmp_path, "out2", source=tmp_path / "two")
    _convert(tmp_path, config="other", source=tmp_path / "two")
    after = (tmp_path / "key.own_files.csv").read_bytes()
    assert after.startswith(before)
    rows = [
        (row["dataset"], row["source"][-3:], row["file"])
        for row in _rows(tmp_path / "key.own_files.csv")
    ]
    assert rows == [
        ("own_files/tiny:1.0.0", "one", "Jane Doe.dat"),
        ("own_files/tiny:1.0.0", "one", "John Doe.dat"),
        ("own_files/tiny:1.0.0", "two", "Max Roe.dat"),
        ("own_files/other:1.0.0", "two", "Max Roe.dat"),
    ]


@pytest.mark.parametrize(
    "old", ["record_id,file,reason,detail\r\na,Jane Doe.dat,,\r\n", "dataset;source;record_id\n"]
)
def test_a_table_of_another_form_stays_as_it_is(tmp_path, old):
    path = tmp_path / "key.own_files.csv"
    path.write_bytes(old.encode())
    _convert(tmp_path)
    _convert(tmp_path, "out2")
    assert path.read_bytes() == old.encode()
    assert len(_rows(tmp_path / "key.own_files.2.csv")) == 4
    assert not (tmp_path / "key.own_files.3.csv").exists()


def test_the_table_is_its_owners_and_survives_a_cut_off_row(tmp_path):
    _convert(tmp_path)
    path = tmp_path / "key.own_files.csv"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    _convert(tmp_path, "out2")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [row["record_id"] for row in _rows(path)] == ["a", "b", "a", "b"]


def test_names_that_are_not_utf_8_are_kept_byte_for_byte(tmp_path, monkeypatch):
    name = os.fsdecode(b"John \xe4.dat")
    monkeypatch.setattr(OwnFiles, "source_files", {"a": "Jane.dat", "b": name})
    _convert(tmp_path)
    assert _rows(tmp_path / "key.own_files.csv")[1]["file"] == name


def test_rejection_of_all_recordings_names_the_reasons_and_the_table_but_no_file(
    tmp_path, monkeypatch
):
    files = {"a": "John Doe.dat", "b": "Zoe Doe.dat", "c": "Zoe Roe.dat"}
    monkeypatch.setattr(OwnFiles, "source_files", files)
    with pytest.raises(InputError) as caught:
        _convert(tmp_path)
    message = str(caught.value)
    assert message.startswith(
        "all recordings were rejected (3): 2 because of units (Export the file"
    )
    assert "1 because of unreadable (" in message and "Doe" not in message and "\n" not in message
    assert f"; {tmp_path / 'key.own_files.csv'} has the file" in message
    details = [row["detail"] for row in _rows(tmp_path / "key.own_files.csv")]
    assert details[1:] == [f"Zoe {name}.dat: in mmHg; export it in mV" for name in ("Doe", "Roe")]


def test_a_recording_without_a_source_file_is_a_programming_error(tmp_path, monkeypatch):
    monkeypatch.setattr(OwnFiles, "source_files", {"a": ""})
    with pytest.raises(ValueError, match="own_files/tiny:1.0.0: recording a has no source_file"):
        _convert(tmp_path)
    assert not (tmp_path / "key.own_files.csv").exists()
