"""The builder of ptb_diagnostic, on random records, and on a real one if available."""

import datetime
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from tfds_builders.prepare import prepare

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def test_a_recording_is_cut_into_windows(tmp_path):
    comments = [
        "age: n/a",
        "sex: male",
        "ECG date: 01/10/1990",
        "Reason for admission: Heart failure (NYHA 2)",
    ]
    folder = tmp_path / "raw"
    tiny_ptb_xl.write_record(
        folder / "patient007/s0001_re", samples=32_000, fs=1000, comments=comments
    )
    tiny_ptb_xl.write_record(folder / "patient008/s0002_re", samples=9000, fs=1000)
    tiny_ptb_xl.write_record(
        folder / "patient008/s0003lre", samples=10_000, fs=1000, comments=["age: 50", "Note: Doe"]
    )
    prepared = prepare("ptb_diagnostic/100hz", tmp_path / "out", source=folder)
    rows = {
        row["record_id"]: row
        for row in pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()
    }
    windows = [rows[f"patient007-s0001_re-w{number}"] for number in (1, 2, 3)]
    first = windows[0]
    assert len({row["patient_id"] for row in windows}) == 1
    assert len({row["split"] for row in windows}) == 1
    assert (first["age"], first["sex"], first["labels"]) == (None, "male", ["ptb:heart_failure"])
    assert [row["recorded_at"].second for row in windows] == [0, 10, 20]
    assert first["recorded_at"] == datetime.datetime(1990, 10, 1)
    assert set(rows) - {row["record_id"] for row in windows} == {"patient008-s0003lre"}


def test_a_folder_without_patients_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(
        InputError, match=r"no patient\*/\*.hea; give the folder that holds patient001"
    ):
        prepare("ptb_diagnostic", tmp_path / "out", source=tmp_path / "raw")


def test_a_real_recording_equals_that_of_wfdb(tmp_path):
    if "ECGJAX_SAMPLES" not in os.environ:
        pytest.skip("ECGJAX_SAMPLES does not name a folder with real recordings")
    shutil.copytree(
        Path(os.environ["ECGJAX_SAMPLES"], "ptb-diagnostic"), tmp_path / "raw/patient001"
    )
    prepared = prepare("ptb_diagnostic/1000hz", tmp_path / "out", source=tmp_path / "raw")
    builder: Any = tfds.builder_from_directory(prepared)
    (split,) = builder.info.splits
    windows = np.concatenate([example["signal"] for example in builder.as_data_source(split)])
    # The files of the Frank leads are absent, and the builder does not open them.
    header = tmp_path / "raw/patient001/s0010_re.hea"
    lines = header.read_text().splitlines()
    header.write_text("\n".join([lines[0].replace(" 15 ", " 12 "), *lines[1:13]]) + "\n")
    expected = tiny_ptb_xl.read_by_wfdb(header.with_suffix(""), physical=True)
    assert windows.shape == (30_000, 12)
    np.testing.assert_allclose(windows, expected.p_signal[:30_000] * 1000, atol=0.51)
