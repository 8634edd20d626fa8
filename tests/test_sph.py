"""The builder of sph, on random files in the layout described by the article."""

import csv
import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import STATEMENTS
from tfds_builders.prepare import prepare
from tfds_builders.sph import sph_dataset_builder as sph

h5py = pytest.importorskip("h5py")
ROW = {
    "ECG_ID": "A00001",
    "AHA_Code": "22;161+347;108",
    "Patient_ID": "S00001",
    "Age": "55",
    "Sex": "F",
    "N": "5000",
    "Date": "2020-03-04",
}


def _write(folder: Path, rows: list[dict[str, str]]) -> Path:
    (folder / "records").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for seed, row in enumerate(rows):
        signal = np.random.default_rng(seed).normal(0, 0.3, (12, int(row["N"]))).astype(np.float16)
        with h5py.File(folder / f"records/{row['ECG_ID']}.h5", "w") as file:
            file["ecg"] = signal
    return folder


def test_recordings_become_windows_with_labels_or_are_rejected(tmp_path):
    rows = [
        ROW,
        ROW | {"ECG_ID": "A00002", "N": "11000"},
        ROW | {"ECG_ID": "A00003"},
        ROW | {"ECG_ID": "A00004"},
    ]
    source = _write(tmp_path / "raw", rows)
    (source / "records/A00003.h5").unlink()
    with h5py.File(source / "records/A00004.h5", "w") as file:
        file["ecg"] = np.zeros((5000, 12))
    prepared = prepare("sph/500hz", tmp_path / "out", source=source)
    table = {
        row["record_id"]: row
        for row in pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    }
    assert set(table) == {"A00001", "A00002-w1", "A00002-w2"}
    first = table["A00001"]
    assert (first["age"], first["sex"], first["labels"]) == (
        55.0,
        "female",
        ["SBRAD", "IMI", "aha:108"],
    )
    assert (
        first["recorded_at"] == datetime.datetime(2020, 3, 4)
        and len({row["patient_id"] for row in table.values()}) == 1
    )
    summary = json.loads((prepared / "report.json").read_text())
    assert summary["reasons"] == {"missing_file": 1, "format": 1}


@pytest.mark.parametrize(
    ("column", "value"), [("ECG_ID", "../x"), ("AHA_Code", "AF"), ("Sex", "X"), ("N", "many")]
)
def test_an_invalid_cell_is_an_error_that_names_it(tmp_path, column, value):
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerow(ROW | {column: value})
    with pytest.raises(InputError, match=f"metadata.csv: ECG_ID .*: {column} "):
        sph.Builder(data_dir=tmp_path, source=tmp_path).find_recordings()


def test_all_statements_are_known():
    assert set(sph.SCP.values()) <= {statement.code for statement in STATEMENTS}
