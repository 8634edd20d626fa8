"""Conversion of a toy data set: shards, table, report and error messages."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import example_serializer

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import builder, examples, journal, plan, report, shards
from tfds_builders.prepare import prepare
from tfds_builders.recording import quality
from tfds_builders.recording.recording import Recording, RecordingsConfig


class Toy(builder.RecordingsBuilder):
    """Recordings with random signals; the file "reject" in `source` lists the numbers to reject."""

    BUILDER_CONFIGS = [RecordingsConfig(name="tiny", rate_hz=100, samples=50)]
    pkg_dir_path = epath.Path(__file__).parent  # TFDS finds no folder for a single module
    patient_key = b"toy"
    recordings_per_shard = 3
    splits = ["train"] * 8 + ["test"] * 4
    same: dict[int, int] = {}
    """Number of the recording that a recording is a copy of."""

    def find_recordings(self):
        return [
            Recording(
                record_id=f"r{number}",
                source_patient_id=f"Jane Doe {number // 2}",
                split=split,
                location=number,
                age=float(number),
                sex="female",
                labels=("NORM", "SR") if number % 2 else ("AFIB",),
            )
            for number, split in enumerate(self.splits)
        ]

    def read_recording(self, recording):
        if str(recording.location) in (self.source / "reject").read_text().split():
            raise quality.RecordingError(
                "checksum", f"recording {recording.location}: bad; fetch it again"
            )
        number = recording.location
        return {"signal": _signal(self.same.get(number, number)), "number": number}

    def extra_features(self):
        return {"number": tfds.features.Scalar(dtype=np.int64)}


def _signal(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(-900, 900, (50, 12)).astype(np.int16)


def _convert(folder: Path, *, reject: str = "", workers: int = 1, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "reject").write_text(reject)
    run = functools.partial(shards.write_all, workers=workers)
    builder = Toy(data_dir=folder / "out", source=folder, run=run, **changes)
    builder.download_and_prepare()
    return Path(builder.data_dir)


def test_tfds_reads_the_shards_in_the_order_of_the_table(tmp_path):
    prepared = _convert(tmp_path)
    builder: Any = tfds.builder_from_directory(prepared)
    examples = [example for split in ("train", "test") for example in builder.as_data_source(split)]
    records = pyarrow.parquet.read_table(prepared / "records.parquet")
    assert [example["record_id"].decode() for example in examples] == records[
        "record_id"
    ].to_pylist()
    assert (
        [example["number"] for example in examples] == list(range(12)) == records["age"].to_pylist()
    )
    assert records["split"].to_pylist() == Toy.splits
    for example in examples:
        np.testing.assert_array_equal(example["signal"], _signal(example["number"]))
    assert builder.info.splits["train"].shard_lengths == [3, 3, 2]
    about = json.loads(records.schema.metadata[b"ecgjax"])
    assert about == {
        "dataset": "toy/tiny:2.0.0",
        "rate_hz": 100,
        "samples": 50,
        "leads": list(LEADS),
        "limit": None,
        "format": 2,
        "sketches": 1,
    }


def test_examples_are_serialized_as_by_tfds(tmp_path):
    features = Toy(data_dir=tmp_path, source=tmp_path).features()
    example = {"record_id": "r1", "signal": _signal(1), "number": 3}
    ours = examples.Serializer(features).serialize("r1", _signal(1), {"number": 3})
    theirs = example_serializer.ExampleSerializer(features.get_serialized_info())
    proto = theirs.get_tf_example(features.encode_example(example))
    assert ours == proto.SerializeToString(deterministic=True)
    with pytest.raises(KeyError, match="number"):
        examples.Serializer(features).serialize("r1", _signal(1), {})


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    one = _convert(tmp_path / "a", reject="4")
    two = _convert(tmp_path / "b", reject="4", workers=2)
    assert sorted(os.listdir(one)) == sorted(os.listdir(two))
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name


class _Stopped(BaseException):
    """Stops the conversion without any cleaning up, as SIGKILL does."""


def _stop_after(shards_written: int, monkeypatch) -> None:
    save = journal.save
    count = iter(range(100))

    def save_or_stop(plan, shard):
        if next(count) == shards_written:
            raise _Stopped
        save(plan, shard)

    monkeypatch.setattr(journal, "save", save_or_stop)


def test_an_interrupted_conversion_continues_with_the_absent_shards(tmp_path, monkeypatch):
    whole = _convert(tmp_path / "a", reject="4")
    (tmp_path / "b").mkdir()
    with monkeypatch.context() as patch, pytest.raises(_Stopped):
        _stop_after(2, patch)
        _convert(tmp_path / "b", reject="4")
    reads = []
    read = Toy.read_recording
    monkeypatch.setattr(
        Toy, "read_recording", lambda self, row: reads.append(row.record_id) or read(self, row)
    )
    resumed = _convert(tmp_path / "b", reject="4")
    assert reads == ["r6", "r7", "r8", "r9", "r10", "r11"]  # from the third shard on
    assert sorted(os.listdir(whole)) == sorted(os.listdir(resumed))
    for file in whole.iterdir():
        assert file.read_bytes() == (resumed / file.name).read_bytes(), file.name
    assert not list(resumed.parent.glob(".unfinished*"))


@pytest.mark.parametrize("harm", ["part", "journal", "plan"])
def test_an_incomplete_or_different_shard_is_written_again(tmp_path, monkeypatch, harm):
    whole = _convert(tmp_path / "a")
    with monkeypatch.context() as patch, pytest.raises(_Stopped):
        _stop_after(2, patch)
        _convert(tmp_path / "b")
    (unfinished,) = (tmp_path / "b").rglob(".unfinished-2.0.0")
    if harm == "part":
        part = unfinished / "train-0.part"
        part.write_bytes(part.read_bytes()[:-3000])
    elif harm == "journal":
        text = (unfinished / "train-0.json").read_text()
        (unfinished / "train-0.json").write_text(text[: len(text) // 2])
    else:  # other recordings are found now
        monkeypatch.setattr(Toy, "splits", ["train"] * 10 + ["test"] * 2)
        whole = _convert(tmp_path / "c")
    again = _convert(tmp_path / "b")
    for file in whole.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_a_shard_that_a_runner_loses_is_an_error(tmp_path):
    """Beam's DirectRunner did this: it succeeded although some of its results were absent."""

    def lose(builder, plans):
        for one_plan in plans[:-1]:
            shards.write(builder, one_plan)
        return map(shards.load_written, plans)

    (tmp_path / "reject").write_text("")
    with pytest.raises(InputError, match="test-3.part: is absent or incomplete"):
        Toy(data_dir=tmp_path / "out", source=tmp_path, run=lose).download_and_prepare()
    assert not list((tmp_path / "out").rglob("records.parquet"))


def test_workers_exit_when_the_conversion_is_killed(tmp_path):
    words = ["--dataset", "synthetic/500hz", "--out", tmp_path, "--workers", "2"]
    command = [sys.executable, "-m", "ecgjax.launch.prepare", *map(str, words)]
    repository = Path(__file__).parent.parent
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=repository)
    while process.poll() is None and not list(tmp_path.rglob(".unfinished-*/train*")):
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)  # returns when no process can write to its pipes any more
    assert process.returncode == -signal.SIGKILL


def test_rejected_recordings_are_counted_by_reason(tmp_path):
    prepared = _convert(tmp_path, reject="1 3 4 5 11")  # 3, 4 and 5 are a whole shard
    summary = json.loads((prepared / report.JSON).read_text())
    assert (summary["found"], summary["written"], summary["rejected"]) == (12, 7, 5)
    assert summary["splits"]["train"] == {"written": 4, "rejected": 4, "patients": 3}
    assert summary["labels"] == {"AFIB": 5, "NORM": 2, "SR": 2} and summary["reasons"] == {
        "checksum": 5
    }
    first = {"record_id": "r1", "split": "train", "reason": "checksum"}
    assert summary["rejections"][0] == first | {"detail": "recording 1: bad; fetch it again"}
    builder: Any = tfds.builder_from_directory(prepared)
    assert builder.info.splits["train"].shard_lengths == [2, 2]
    numbers = [
        example["number"]
        for split in ("train", "test")
        for example in builder.as_data_source(split)
    ]
    assert numbers == [0, 2, 6, 7, 8, 9, 10]
    assert not list(prepared.glob("*.part"))


def test_the_report_mentions_a_split_without_recordings(tmp_path):
    prepared = _convert(tmp_path, reject="8 9 10 11")
    summary = json.loads((prepared / report.JSON).read_text())
    assert summary["splits"]["test"] == {"written": 0, "rejected": 4, "patients": 0}
    builder: Any = tfds.builder_from_directory(prepared)
    assert list(builder.info.splits) == ["train"] and len(builder.as_data_source("train")) == 8


def test_rejection_of_all_recordings_is_an_error_and_leaves_no_files(tmp_path):
    problem = r"all recordings were rejected \(12\): 12 because of checksum \(Download the file "
    problem += r"again\)"
    with pytest.raises(InputError, match=f"{problem}; the first one: recording 0: bad"):
        _convert(tmp_path, reject=" ".join(map(str, range(12))))
    assert not list((tmp_path / "out").rglob("*array_record*"))


def test_no_patient_identifier_is_written(tmp_path):
    prepared = _convert(tmp_path, reject="4")
    records = pyarrow.parquet.read_table(prepared / "records.parquet")
    ids = records["patient_id"].to_pylist()
    assert all(re.fullmatch("[0-9a-f]{32}", patient) for patient in ids)
    assert len(set(ids)) == 6
    for file in prepared.iterdir():
        assert b"Jane" not in file.read_bytes(), file.name


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"record_id": "a"}, "record id a occurs twice"),
        (
            {"source_patient_id": "p", "split": "test"},
            "recording b is in test, its patient's recording a in train",
        ),
    ],
)
def test_record_ids_are_unique_and_each_patient_is_in_one_split(second, message):
    first = {"record_id": "a", "source_patient_id": "p", "split": "train", "location": 0}
    other = {"record_id": "b", "source_patient_id": "q", "split": "train", "location": 1}
    with pytest.raises(InputError, match=message):
        plan.select([Recording(**first), Recording(**other | second)], None)


def test_a_data_set_without_recordings_is_an_error():
    with pytest.raises(InputError, match="no recordings found"):
        plan.select([], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "ptbxl"}, "'ptbxl' is unknown; choose from .*ptb_xl"),
        ({"dataset": "../ptb_xl"}, "is unknown"),
        ({"dataset": "ptb_xl/200hz"}, "no config '200hz'; choose from 100hz, 500hz"),
        ({"dataset": "ptb_xl", "workers": 0}, "--workers 0"),
        ({"dataset": "ptb_xl", "limit": -1}, "--limit -1"),
        ({"dataset": "ptb_xl", "patients": 3}, "no option 'patients'"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        prepare(**arguments, out=tmp_path)


def test_a_full_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(InputError, match="needs 0 MB, 0 MB are free; choose another folder"):
        _convert(tmp_path)


def _duplicates(folder: Path) -> tuple[Path, dict]:
    prepared = _convert(folder)
    return prepared, json.loads((prepared / report.JSON).read_text())


def test_one_of_two_recordings_with_the_same_samples_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "same", {9: 1, 4: 3})  # 1 is for training, 9 for testing
    prepared, summary = _duplicates(tmp_path)
    details = {rejection["record_id"]: rejection["detail"] for rejection in summary["rejections"]}
    assert details == {
        "r1": "recording r1: the same samples as r9 in test; leave one out",
        "r4": "recording r4: the same samples as r3 in train; leave one out",
    }
    assert summary["reasons"] == {"duplicate": 2} and summary["written"] == 10
    builder: Any = tfds.builder_from_directory(prepared)
    assert builder.info.splits["train"].shard_lengths == [2, 2, 2]
    ids = [
        example["record_id"].decode()
        for split in ("train", "test")
        for example in builder.as_data_source(split)
    ]
    assert ids == pyarrow.parquet.read_table(prepared / "records.parquet")["record_id"].to_pylist()
    assert ids == ["r0", "r2", "r3", "r5", "r6", "r7", "r8", "r9", "r10", "r11"]


def test_a_shard_with_only_duplicates_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "same", {3: 0, 4: 0, 5: 0})
    prepared, summary = _duplicates(tmp_path)
    assert summary["reasons"] == {"duplicate": 3}
    builder: Any = tfds.builder_from_directory(prepared)
    assert builder.info.splits["train"].shard_lengths == [3, 2]
