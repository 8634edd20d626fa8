"""The builder of code15, on random files in its layout, and on real exams if available."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import scipy.io
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import MISSING
from tfds_builders.prepare import prepare

h5py = pytest.importorskip("h5py")
FLAGS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
ROW = {
    "age": "53",
    "is_male": "True",
    "patient_id": "7",
    "trace_file": "exams_part0.hdf5",
    "death": "",
    "timey": "",
}


def _write(folder: Path, exams: dict[int, np.ndarray], **changes: str) -> Path:
    """Writes exams of different patients, each [time, 12] in mV.

    They are centred in 4096 samples, with a last exam of zeros, as in Zenodo's files.
    """
    folder.mkdir()
    rows = [
        ROW | dict.fromkeys(FLAGS, "False") | {"exam_id": str(exam), "patient_id": str(exam)}
        for exam in exams
    ]
    with (folder / "exams.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | changes for row in rows)
    tracings = np.zeros((len(exams) + 1, 4096, 12), np.float32)
    for place, signal in enumerate(exams.values()):
        before = (4096 - len(signal)) // 2
        tracings[place, before : before + len(signal)] = signal
    with h5py.File(folder / "exams_part0.hdf5", "w") as file:
        file["tracings"] = tracings
        file["exam_id"] = [*exams, 0]
    return folder


def _exam(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, (samples, 12)) / 1000


def _signals(prepared: Path) -> dict[str, np.ndarray]:
    builder: Any = tfds.builder_from_directory(prepared)
    examples = [
        example for split in builder.info.splits for example in builder.as_data_source(split)
    ]
    return {example["record_id"].decode(): example["signal"] for example in examples}


def test_padding_is_removed_and_short_exams_are_rejected(tmp_path):
    exams = {11: _exam(4096), 13: _exam(4000, 1), 12: _exam(2934, 2), 14: np.zeros((0, 12))}
    source = _write(tmp_path / "raw", exams, AF="True", SB="True", RBBB="True")
    prepared = prepare("code15/400hz", tmp_path / "out", source=source)
    for exam, signal in _signals(prepared).items():
        np.testing.assert_allclose(signal, exams[int(exam)][:4000] * 1000, atol=0.5)
    summary = json.loads((prepared / "report.json").read_text())
    rejected = {rejection["record_id"]: rejection["reason"] for rejection in summary["rejections"]}
    assert rejected == {"12": "length", "14": "length"}
    row = pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()[0]
    assert (row["age"], row["sex"], row["labels"]) == (
        53.0,
        "male",
        ["code15:RBBB", "SBRAD", "AFIB"],
    )
    padded = _signals(prepare("code15/400hz", tmp_path / "out", source=source, pad_from=7))
    assert set(padded) == {"11", "12", "13"}
    np.testing.assert_allclose(padded["12"][:2934], exams[12] * 1000, atol=0.5)
    assert (padded["12"][2934:] == MISSING).all()
    seven = _signals(prepare("code15/100hz_7s", tmp_path / "out", source=source))
    assert set(seven) == {"11", "12", "13"} and {signal.shape for signal in seven.values()} == {
        (700, 12)
    }


def test_exams_of_an_absent_file_are_rejected(tmp_path):
    source = _write(tmp_path / "raw", {11: _exam(4096)})
    with (source / "exams.csv").open("a") as file:
        last = (source / "exams.csv").read_text().splitlines()[1]
        file.write(
            last.replace("part0", "part3").replace("11", "21")
            + "\n"
            + last.replace("11", "22")
            + "\n"
        )
    prepared = prepare("code15", tmp_path / "out", source=source)
    summary = json.loads((prepared / "report.json").read_text())
    assert summary["reasons"] == {"missing_file": 2} and summary["written"] == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("trace_file", "../x.hdf5"),
        ("trace_file", "exams_part18.hdf5"),
        ("is_male", "1"),
        ("age", "-3"),
        ("AF", ""),
    ],
)
def test_an_invalid_cell_is_an_error_that_names_it(tmp_path, column, value):
    source = _write(tmp_path / "raw", {11: _exam(4096)}, **{column: value})
    with pytest.raises(InputError, match=f"exams.csv: exam_id 11: {column} "):
        prepare("code15", tmp_path / "out", source=source)


def test_real_exams_are_converted(tmp_path):
    if "ECGJAX_SAMPLES" not in os.environ:
        pytest.skip("ECGJAX_SAMPLES does not name a folder with real recordings")
    folder = Path(os.environ["ECGJAX_SAMPLES"], "code-15")
    rows = list(csv.DictReader((folder / "meta.csv").read_text().splitlines()))
    exams = {
        int(row["exam_id"]): scipy.io.loadmat(folder / "org" / row["save_file"])["feats"].T
        for row in rows
    }
    source = _write(tmp_path / "raw", exams)
    with (source / "exams.csv").open("w", newline="") as file:
        columns = ["exam_id", *ROW, *FLAGS]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(row | {"trace_file": "exams_part0.hdf5"} for row in rows)
    prepared = prepare("code15/400hz", tmp_path / "out", source=source)
    signals = _signals(prepared)
    assert len(signals) == 4  # the other six are of 7.3 s
    for exam, signal in signals.items():
        np.testing.assert_allclose(signal, exams[int(exam)][:4000] * 1000.0, atol=0.51)
    labels = {
        row["record_id"]: row["labels"]
        for row in pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    }
    assert labels["975093"] == ["1AVB"] and labels["270272"] == ["code15:RBBB"]
