"""The table beside the key of a user's own files."""

import csv
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from ecgjax.errors import InputError
from tfds_builders.conversion import builder, keeper
from tfds_builders.recording.recording import Recording, RecordingsConfig


class OwnFiles(builder.RecordingsBuilder):
    """A user's own files, whose locations are plain strings."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [RecordingsConfig(name="tiny", rate_hz=100, samples=50)]
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
        return {"signal": np.random.default_rng(0).integers(-900, 900, (50, 12)).astype(np.int16)}


def _convert(folder):
    own_files = OwnFiles(data_dir=folder / "out", key_file=folder / "key")
    own_files.download_and_prepare()
    return epath.Path(own_files.data_dir)


def test_the_table_beside_the_key_has_whole_file_names_and_details(tmp_path):
    prepared = _convert(tmp_path)
    with open(tmp_path / "key.own_files.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    detail = "John Doe.dat: is not readable; export it again"
    assert rows == [
        {"record_id": "a", "file": "Jane Doe.dat", "reason": "", "detail": ""},
        {"record_id": "b", "file": "John Doe.dat", "reason": "unreadable", "detail": detail},
    ]
    (rejection,) = json.loads((prepared / "report.json").read_text())["rejections"]
    assert rejection["reason"] == "unreadable" and rejection["detail"] == keeper.NO_DETAIL
    for file in prepared.iterdir():
        assert b"Doe" not in file.read_bytes(), file.name


def test_a_recording_without_a_source_file_is_a_programming_error(tmp_path, monkeypatch):
    monkeypatch.setattr(OwnFiles, "source_files", {"a": ""})
    with pytest.raises(ValueError, match="own_files: recording a has no source_file; set it"):
        _convert(tmp_path)
    assert not (tmp_path / "key.own_files.csv").exists()
