"""The builder of wfdb_folder, recordings.csv, and the privacy of patients."""

import csv
import datetime
import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from tfds_builders.conversion import keeper
from tfds_builders.formats import recordings_csv
from tfds_builders.prepare import prepare
from tfds_builders.recording import privacy
from tfds_builders.wfdb_folder import wfdb_folder_dataset_builder

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _write(
    folder: Path,
    rows: list[dict[str, str]] | None = None,
    *,
    files=("DOE_Jane/a", "DOE_Jane/b", "c"),
) -> Path:
    for seed, file in enumerate(files):
        comments = ["Name: Jane Doe", "Born: 1931-02-03"]
        tiny_ptb_xl.write_record(folder / file, seed=seed, fs=500, samples=5000, comments=comments)
    if rows:
        with (folder / recordings_csv.FILE).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def _prepare(tmp_path: Path, name: str = "out") -> tuple[Path, list[dict]]:
    key = tmp_path / "secret/key"
    prepared = prepare("wfdb_folder", tmp_path / name, source=tmp_path / "raw", patient_key=key)
    return prepared, pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()


ROW = {
    "file": "DOE_Jane/a",
    "patient": "MRN 0042",
    "time": "2021-03-04T05:06:07",
    "age": "93.4",
    "sex": "female",
    "labels": "AFIB; SR",
    "split": "test",
    "name": "Jane Doe",
}


def test_all_records_of_a_folder_are_converted(tmp_path):
    _write(tmp_path / "raw")
    _, rows = _prepare(tmp_path)
    assert (
        len(rows)
        == len({row["record_id"] for row in rows})
        == len({row["patient_id"] for row in rows})
        == 3
    )
    assert {row["recorded_at"] for row in rows} == {None} and {row["age"] for row in rows} == {None}


def test_the_table_gives_the_metadata_of_the_records(tmp_path):
    second = ROW | {"file": "DOE_Jane/b", "time": "2021-03-05", "age": "", "sex": "", "labels": ""}
    _write(tmp_path / "raw", [ROW, second])
    _, rows = _prepare(tmp_path)
    first, second = sorted(rows, key=lambda row: row["recorded_at"])
    assert first["patient_id"] == second["patient_id"] and re.fullmatch(
        "[0-9a-f]{32}", first["patient_id"]
    )
    assert (first["age"], first["sex"], first["labels"], first["split"]) == (
        90.0,
        "female",
        ["AFIB", "SR"],
        "test",
    )
    assert (second["age"], second["sex"], second["labels"]) == (None, None, [])
    days, rest = divmod(
        datetime.datetime(2021, 3, 4, 5, 6, 7) - first["recorded_at"], datetime.timedelta(days=7)
    )
    assert 1 <= days <= privacy.MOST_WEEKS and not rest
    assert second["recorded_at"] - first["recorded_at"] == datetime.timedelta(
        hours=18, minutes=53, seconds=53
    )


def test_the_output_identifies_no_patient(tmp_path):
    for number in range(6):
        tiny_ptb_xl.write_record(
            tmp_path / f"raw/DOE_Jane_19310203_{number}", seed=number, fs=500, samples=5000
        )
        if number == 0:  # is damaged
            header = tmp_path / f"raw/DOE_Jane_19310203_{number}.hea"
            header.write_text(header.read_text().replace("1000.0(0)/mV", "1000.0(0)/DOE_Jane"))
    rows = [ROW | {"file": f"DOE_Jane_19310203_{number}", "split": ""} for number in range(6)]
    _write(tmp_path / "raw", rows, files=())
    command = ["--dataset", "wfdb_folder", "--source", tmp_path / "raw", "--out", tmp_path / "out"]
    command += ["--patient-key", tmp_path / "secret/key"]
    run = [sys.executable, "-m", "ecgjax.launch.prepare", *map(str, command)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and "6 found = 5 written + 1 rejected" in done.stdout, done.stderr
    outputs = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    for secret in ("Jane", "DOE", "0042", "19310203", "1931-02", "2021-03-04", "93.4"):
        for output in (*outputs, done.stdout.encode(), done.stderr.encode()):
            assert secret.encode() not in output
    summary = json.loads(next((tmp_path / "out").rglob("report.json")).read_text())
    (rejection,) = summary["rejections"]
    assert rejection["reason"] == "units" and rejection["detail"] == keeper.NO_DETAIL
    # The table beside the key says which file it was.
    table = (tmp_path / "secret/key.wfdb_folder.csv").read_text().splitlines()
    files = {row["record_id"]: row for row in csv.DictReader(table)}
    rejected = files[rejection["record_id"]]
    assert rejected["file"] == "DOE_Jane_19310203_0" and "units 'DOE_Jane'" in rejected["detail"]
    assert len(files) == 6
    for file in (tmp_path / "secret").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_hashes_depend_on_a_key_outside_the_data(tmp_path):
    _write(tmp_path / "raw", [ROW])
    _, (row,) = _prepare(tmp_path)
    _, (again,) = _prepare(tmp_path, "again")
    assert row == again
    (tmp_path / "secret/key").write_bytes(b"another secret of some length")
    _, (other,) = _prepare(tmp_path, "other")
    assert not {row["record_id"], row["patient_id"], row["recorded_at"]} & set(
        map(str, other.values())
    )
    assert row["patient_id"] != other["patient_id"] and row["recorded_at"] != other["recorded_at"]
    for key, message in (
        (None, "add --patient-key FILE"),
        (tmp_path / "raw/key", "store it elsewhere"),
        (tmp_path / "out3/key", "store it elsewhere"),
        (tmp_path / "short", "4 bytes are no secret"),
        (tmp_path, "Is a directory"),
    ):
        (tmp_path / "short").write_bytes(b"1234")
        with pytest.raises(InputError, match=message):
            prepare("wfdb_folder", tmp_path / "out3", source=tmp_path / "raw", patient_key=key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../a"}, "row 2: column file is not a path in the folder"),
        ({"file": "/etc/passwd"}, "row 2: column file is not"),
        ({"file": ""}, "row 2: column file is not"),
        ({"file": "link/a"}, "row 2: a file outside the folder"),
        ({"time": "Jane"}, "row 2: column time is not a date"),
        ({"age": "-1"}, "row 2: column age is not an age in years"),
        ({"age": "nan"}, "row 2: column age is not"),
        ({"sex": "Jane"}, "row 2: column sex is not female or male"),
        ({"labels": "Jane had chest pain"}, "row 2: column labels is not codes"),
        ({"split": "dev"}, "row 2: column split is not one of train, validation, test"),
    ],
)
def test_an_invalid_cell_of_the_table_is_not_quoted(tmp_path, changes, message):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/link").symlink_to(tmp_path)
    _write(tmp_path / "raw", [ROW | changes])
    with pytest.raises(InputError, match=message) as caught:
        recordings_csv.read(tmp_path / "raw")
    assert "Jane" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_with_a_repeated_file_or_without_files_is_refused(tmp_path):
    _write(tmp_path / "raw", [ROW, ROW])
    with pytest.raises(InputError, match="row 3: a file that an earlier row lists"):
        recordings_csv.read(tmp_path / "raw")
    (tmp_path / "raw" / recordings_csv.FILE).write_text("record\na\n")
    with pytest.raises(InputError, match="lacks column file"):
        recordings_csv.read(tmp_path / "raw")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no WFDB header"):
        prepare(
            "wfdb_folder", tmp_path / "out", source=tmp_path / "empty", patient_key=tmp_path / "key"
        )


def test_conversions_to_two_rates_have_separate_journals(tmp_path):
    """They may run at the same time, with one key."""
    settings = {"source": tmp_path, "key_file": tmp_path / "key", "data_dir": tmp_path / "out"}
    folders = {
        wfdb_folder_dataset_builder.Builder(config=rate, **settings)._journals
        for rate in ("100hz", "500hz")
    }
    assert len(folders) == 2 and {folder.parent for folder in folders} == {tmp_path}
