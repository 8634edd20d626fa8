"""The builder of vendor_folder: recordings of files, their patients, and reading each file once."""

import collections
import csv
import json
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from helpers import edf, muse

from ecgjax.errors import InputError
from ecgjax.signals import MISSING
from tfds_builders.conversion import shards
from tfds_builders.formats import vendor
from tfds_builders.prepare import prepare
from tfds_builders.recording.recording import Recording, RecordingsConfig
from tfds_builders.vendor_folder import vendor_folder_dataset_builder as vendor_folder

pytest.importorskip("ecgdatakit")
CONFIG = RecordingsConfig(name="100hz", rate_hz=100, samples=1000)


def _muse(path: Path, patient: str = "", **changes) -> np.ndarray:
    """Writes a file of 10 s at 100 Hz."""
    settings = {"samples": 1000, "rate_hz": 100, "person": {"PatientID": patient}}
    return muse.write(path, **(settings | changes))


def _builder(folder: Path, **options) -> vendor_folder.Builder:
    return vendor_folder.Builder(
        config=options.pop("config", CONFIG),
        source=folder / "raw",
        data_dir=folder / "out",
        key_file=folder / "key",
        **options,
    )


def _find(folder: Path, **options) -> dict[str, Recording]:
    recordings = _builder(folder, **options).find_recordings()
    return {recording.source_file: recording for recording in recordings}


def test_recordings_of_a_file_are_of_one_patient(tmp_path):
    _muse(tmp_path / "raw/a.xml", "P1", kinds=("Rhythm", "Median", "Rhythm"))
    _muse(tmp_path / "raw/b.xml", kinds=("Rhythm", "Rhythm"), seed=1)
    _muse(tmp_path / "raw/c.xml", seed=2)
    found = _find(tmp_path)
    assert [*found] == ["a.xml#0", "a.xml#1", "b.xml#0", "b.xml#1", "c.xml"]
    patients = [recording.source_patient_id for recording in found.values()]
    assert patients[:2] == ["P1", "P1"] and patients[2] == patients[3] != patients[4]
    assert len({recording.record_id for recording in found.values()}) == 5
    assert found["b.xml#0"].split == found["b.xml#1"].split


PLACEHOLDERS = ("", "000000000", "X", "X X X X", "ANON", "unknown", "n/a", "None", "9999999")


def test_strangers_with_a_placeholder_stay_strangers(tmp_path):
    for number, patient in enumerate(PLACEHOLDERS):
        _muse(tmp_path / f"raw/{number}a.xml", patient)
        _muse(tmp_path / f"raw/{number}b.xml", patient)
        edf.write(tmp_path / f"raw/{number}c.edf", records=1, patient=patient)
    owners = collections.defaultdict(list)
    for name, recording in _find(tmp_path).items():
        owners[recording.source_patient_id].append(name)
    assert len(owners) == 3 * len(PLACEHOLDERS), [names for names in owners.values() if names[1:]]


def test_the_same_names_in_two_folders_are_two_patients(tmp_path):
    for folder in ("one", "two"):
        _muse(tmp_path / folder / "raw/a.xml")
    (one,) = _find(tmp_path / "one").values()
    (two,) = _find(tmp_path / "two").values()
    assert one.record_id != two.record_id and one.source_patient_id != two.source_patient_id


def test_a_row_of_the_table_takes_precedence_and_empty_cells_do_not(tmp_path):
    _muse(tmp_path / "raw/a.xml", "P1", kinds=("Rhythm", "Rhythm"), person=muse.PERSON)
    rows = "file,patient_id,age,sex,label\na.xml,Q1,,male,AFIB\n"
    (tmp_path / "raw/recordings.csv").write_text(rows)
    builder = _builder(tmp_path)
    for recording in builder.find_recordings():
        assert recording.source_patient_id == "Q1" and recording.sex == "male"
        assert recording.age == 90 and recording.labels == ("AFIB",)
        assert recording.recorded_at
    assert builder.source_table.summary()["rows_without_recording"] == 0


def test_recordings_of_the_patient_that_files_name_share_a_split(tmp_path):
    for number in range(3):
        _muse(tmp_path / f"raw/{number}.xml", "P1", seed=number)
    table = tmp_path / "raw/recordings.csv"
    for split in ("train", "validation", "test"):
        table.write_text(f"file,split\n0.xml,{split}\n1.xml,\n2.xml,{split}\n")
        assert {recording.split for recording in _find(tmp_path).values()} == {split}
    table.write_text("file,split\n0.xml,train\n1.xml,\n2.xml,test\n")
    with pytest.raises(InputError, match="rows 2 and 4 are of the same patient"):
        _find(tmp_path)


def test_everything_in_the_folder_is_accounted_for(tmp_path):
    _muse(tmp_path / "raw/a.xml", "P1")
    _muse(tmp_path / "raw/.hidden.xml")
    _muse(tmp_path / "raw/deep/real.xml", "P2")
    _muse(tmp_path / "elsewhere/b.xml")
    (tmp_path / "raw/inside").symlink_to(tmp_path / "raw/deep/real.xml")
    (tmp_path / "raw/outside.xml").symlink_to(tmp_path / "elsewhere/b.xml")
    (tmp_path / "raw/notes.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "raw/more.zip", "w") as archive:
        archive.writestr("a.xml", "x")
    found = _find(tmp_path)
    problems = {name: row.problem and row.problem[0] for name, row in found.items()}
    expected = {"a.xml": None, "deep/real.xml": None, "outside.xml": "file_name"}
    assert problems == expected | {"notes.txt": "format", "more.zip": "packed"}
    assert "unpack" in found["more.zip"].problem[1]


def test_a_gap_is_missing_samples_and_windows_are_cut(tmp_path):
    onsets_s = (*range(8), *range(13, 25))
    edf.write(
        tmp_path / "raw/a.edf", records=20, width=100, samples=100, kind="EDF+D", onsets_s=onsets_s
    )
    builder = _builder(tmp_path)
    windows = builder.find_recordings()
    assert [row.record_id[-3:] for row in windows] == ["-w1", "-w2"]
    first, second = (
        (builder.read_recording(row)["signal"] == MISSING).all(axis=1) for row in windows
    )
    assert first[800:].all() and first.sum() == 200
    assert second.sum() == 300 and second[700:].all()  # missing samples in front are moved
    assert (windows[1].recorded_at - windows[0].recorded_at).total_seconds() == 10


def test_one_broken_recording_does_not_reject_the_other(tmp_path):
    _muse(tmp_path / "raw/a.xml", kinds=("Rhythm", "Rhythm"))
    text = (tmp_path / "raw/a.xml").read_text("latin-1")
    text = text.replace("MICROVOLTS", "PASCALS", 1)
    (tmp_path / "raw/a.xml").write_text(text, "latin-1")
    found = _find(tmp_path)
    assert found["a.xml#0"].problem[0] == "units" and found["a.xml#1"].problem is None


def test_leads_that_the_data_set_does_not_hold_do_not_matter(tmp_path):
    _muse(tmp_path / "raw/a.xml")
    text = (tmp_path / "raw/a.xml").read_text("latin-1")
    before, after = text.rsplit("MICROVOLTS", 1)
    (tmp_path / "raw/a.xml").write_text(f"{before}PASCALS{after}", "latin-1")
    assert _find(tmp_path)["a.xml"].problem[0] == "units"
    config = RecordingsConfig(name="limb", rate_hz=100, samples=1000, leads=("I", "III"))
    builder = _builder(tmp_path, config=config)
    (recording,) = builder.find_recordings()
    signal = builder.read_recording(recording)["signal"]
    assert (signal[:, [0, 2]] != MISSING).all() and (signal[:, [1, *range(3, 12)]] == MISSING).all()


def test_each_file_is_parsed_once_in_all_workers_and_the_bytes_are_the_same(tmp_path, monkeypatch):
    for number in range(12):
        _muse(tmp_path / f"raw/{number}.xml", f"P{number // 2}", seed=number)
    threads = collections.defaultdict(set)
    read = vendor.Sandbox.read

    def spy(sandbox: vendor.Sandbox, path: Path) -> vendor.VendorFile:
        parsed.append(path.name)
        threads[workers].add(threading.get_ident())
        return read(sandbox, path)

    monkeypatch.setattr(vendor.Sandbox, "read", spy)
    files = []
    for workers in (1, 2):
        parsed = []
        lines = []
        out = tmp_path / f"out{workers}"
        folder = prepare(
            "vendor_folder/100hz",
            out,
            source=tmp_path / "raw",
            patient_key=tmp_path / "key",
            workers=workers,
            progress=lambda done, total, lines=lines: lines.append((done, total)),
        )
        assert sorted(parsed) == sorted(f"{number}.xml" for number in range(12))
        assert lines[0] == (0, 12) and (12, 12) in lines
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert files[0] == files[1]
    assert {workers: len(ids) for workers, ids in threads.items()} == {1: 1, 2: 2}


def test_an_interrupted_conversion_does_not_parse_again(tmp_path, monkeypatch):
    _muse(tmp_path / "raw/a.xml", "Secret1", kinds=("Rhythm", "Rhythm"))
    _muse(tmp_path / "raw/b.xml", "Secret2", seed=1)
    (tmp_path / "raw/c.xml").write_text("x")
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "keys/key"}
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write", lambda *_: (_ for _ in ()).throw(InputError("power cut")))
        with pytest.raises(InputError, match="power cut"):
            prepare("vendor_folder/100hz", tmp_path / "out", **settings)
    kept = [path for path in (tmp_path / "keys").rglob("*") if path.suffix == ".json"]
    assert len(kept) == 3
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    samples = [path for path in (tmp_path / "out").rglob("files/*") if path.is_file()]
    assert len(samples) == 3 and all(path.stat().st_size == 24_000 for path in samples)
    parsed = []
    read = vendor.Sandbox.read
    spy = lambda box, path: (parsed.append(path.name), read(box, path))[1]  # noqa: E731
    monkeypatch.setattr(vendor.Sandbox, "read", spy)
    _muse(tmp_path / "raw/b.xml", "Secret2", seed=2, samples=1100)  # changed meanwhile
    folder = prepare("vendor_folder/100hz", tmp_path / "out", **settings)
    assert parsed == ["b.xml"]
    assert len(pyarrow.parquet.read_table(folder / "records.parquet")) == 3
    assert not list(tmp_path.rglob("*unfinished*"))


def test_the_key_table_and_the_report_name_recordings_and_what_was_left_out(tmp_path):
    _muse(tmp_path / "raw/a.xml", kinds=("Median", "Rhythm", "Rhythm"))
    folder = prepare(
        "vendor_folder/100hz",
        tmp_path / "out",
        source=tmp_path / "raw",
        patient_key=tmp_path / "key",
    )
    report = json.loads((folder / "report.json").read_text())
    assert [*report["notes"].values()] == [1] and "median" in next(iter(report["notes"]))
    (table,) = tmp_path.glob("key.*.csv")
    with table.open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["a.xml#0", "a.xml#1"]
