"""The builder of mimic_iv_ecg, on a tiny folder in its layout."""

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.prepare import prepare
from tfds_builders.recording import splits

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

NAMES = ["I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6"]
PATIENTS = (10000032, 10000032, 10000117, 10000248, 10000285)


def _write(folder: Path, **changes: str) -> dict[str, np.ndarray]:
    rows = []
    stored = {}
    for number, patient in enumerate(PATIENTS):
        study = str(40000000 + number)
        path = f"files/p{patient // 10000}/p{patient}/s{study}/{study}"
        settings = {"sig_name": NAMES, "adc_gain": [200.0] * 12, "samples": 5000, "fs": 500}
        stored[study] = tiny_ptb_xl.write_record(folder / path, seed=number, **settings)
        time = f"2180-07-{20 + number} 08:44:00"
        row = {
            "subject_id": patient,
            "study_id": study,
            "file_name": study,
            "ecg_time": time,
            "path": path,
        }
        rows.append(row | changes)
    with (folder / "record_list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return stored


def test_leads_are_ordered_and_recordings_of_a_patient_have_one_id(tmp_path):
    stored = _write(tmp_path / "raw")
    absent = tmp_path / "raw/files/p1000/p10000248/s40000003/40000003.dat"
    absent.unlink()
    prepared = prepare("mimic_iv_ecg/500hz", tmp_path / "out", source=tmp_path / "raw")
    rows = {
        row["record_id"]: row
        for row in pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    }
    assert (
        rows["40000000"]["patient_id"]
        == rows["40000001"]["patient_id"]
        != rows["40000002"]["patient_id"]
    )
    assert rows["40000000"]["recorded_at"] == datetime.datetime(2180, 7, 20, 8, 44)
    summary = json.loads((prepared / "report.json").read_text())
    assert summary["reasons"] == {"missing_file": 1} and summary["written"] == 4
    builder: Any = tfds.builder_from_directory(prepared)
    for split in builder.info.splits:
        for example in builder.as_data_source(split):
            expected = (
                stored[example["record_id"].decode()][:, [NAMES.index(lead) for lead in LEADS]] * 5
            )
            np.testing.assert_array_equal(example["signal"], expected)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("path", "../../etc/passwd"),
        ("path", "files/p1000/p10000032/../40000000"),
        ("subject_id", "Jane"),
    ],
)
def test_an_invalid_cell_is_an_error_that_names_it(tmp_path, column, value):
    _write(tmp_path / "raw", **{column: value})
    with pytest.raises(
        InputError, match=f"record_list.csv: study_id 40000000: {column} .* replace the file"
    ):
        prepare("mimic_iv_ecg", tmp_path / "out", source=tmp_path / "raw")


def test_splits_have_their_shares_and_depend_on_the_key():
    splits_a = [splits.assign_split(str(number), b"a") for number in range(20_000)]
    splits_b = [splits.assign_split(str(number), b"b") for number in range(20_000)]
    for split, share in splits.SHARES.items():
        assert abs(splits_a.count(split) / len(splits_a) - share) < 0.01
    assert 0.6 < np.mean([a == b for a, b in zip(splits_a, splits_b, strict=True)]) < 0.72
