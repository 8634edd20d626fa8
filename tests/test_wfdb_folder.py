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
        with (folder / "recordings.csv").open("w", newline="") as file:
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


def test_a_folder_without_records_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/records.zip").write_bytes(b"PK")
    for source in ("empty", "packed", "packed/records.zip"):
        with pytest.raises(InputError, match="no WFDB header.*unpack|a file, not a folder; unpack"):
            prepare(
                "wfdb_folder",
                tmp_path / "out",
                source=tmp_path / source,
                patient_key=tmp_path / "key",
            )


def test_conversions_to_two_rates_have_separate_journals(tmp_path):
    """They may run at the same time, with one key."""
    settings = {"source": tmp_path, "key_file": tmp_path / "key", "data_dir": tmp_path / "out"}
    folders = {
        wfdb_folder_dataset_builder.Builder(config=rate, **settings)._journals
        for rate in ("100hz", "500hz")
    }
    assert len(folders) == 2 and {folder.parent for folder in folders} == {tmp_path}


def _rejections(tmp_path: Path) -> dict[str, str]:
    """Returns the reasons of the rejected recordings by their file, from the table of the key."""
    with (tmp_path / "secret/key.wfdb_folder.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file) if row["reason"]}


def test_everything_below_the_folder_is_counted(tmp_path):
    raw = _write(tmp_path / "raw", files=("a", "b", ".hidden/c", "d/e"))
    _write(tmp_path / "elsewhere", files=("x",))
    (raw / "b.hea").rename(raw / "b.HEA")
    (raw / "b.dat").rename(raw / "B.DAT")
    (raw / "._a.hea").write_bytes(b"a file that macOS makes")
    (raw / "again").symlink_to("d")
    (raw / "visible").symlink_to(".hidden")
    (raw / "outside").symlink_to("../elsewhere")
    (raw / "x.hea").symlink_to("../elsewhere/x.hea")
    (raw / "gone.hea").symlink_to("nothing.hea")
    (raw / "more.zip").write_bytes(b"PK")
    prepared, rows = _prepare(tmp_path)
    assert len(rows) == 4  # a, b, visible/c and d/e
    assert _rejections(tmp_path) == {
        "gone": "file_name",
        "more.zip": "packed",
        "outside": "file_name",
        "x": "file_name",
    }
    assert json.loads((prepared / "report.json").read_text())["rejected"] == 4


def test_two_headers_whose_endings_differ_in_case_are_two_records(tmp_path):
    raw = _write(tmp_path / "raw", files=("a", "b"))
    (raw / "b.hea").rename(raw / "a.HEA")
    _, rows = _prepare(tmp_path)
    assert len(rows) == len({row["patient_id"] for row in rows}) == 2


def test_the_table_may_name_a_header_in_any_case(tmp_path):
    raw = _write(tmp_path / "raw", [ROW | {"file": "a.hea"}, ROW | {"file": "c"}], files=("a", "b"))
    (raw / "a.hea").rename(raw / "a.HEA")
    _, rows = _prepare(tmp_path)
    assert [row["age"] for row in rows] == [90.0]
    assert _rejections(tmp_path) == {"b": "unlisted", "c": "missing_file"}


def test_signal_files_without_a_header_are_rejected_by_name(tmp_path):
    raw = _write(tmp_path / "raw", files=("a", "b", "c", "d/e", "f"))
    (raw / "b.hea").unlink()
    (raw / "c.dat").rename(raw / "C.DAT")
    (raw / "d/e.dat").rename(raw / "store.dat")
    (raw / "d/e.dat").symlink_to("../store.dat")
    header = (raw / "f.hea").read_text()
    (raw / "f.hea").write_text(header.replace("f.dat", "Named.dat"))
    (raw / "f.dat").rename(raw / "named.DAT")
    prepared, rows = _prepare(tmp_path)
    assert len(rows) == 4 and json.loads((prepared / "report.json").read_text())["rejected"] == 1
    with (tmp_path / "secret/key.wfdb_folder.csv").open() as file:
        (rejected,) = [row for row in csv.DictReader(file) if row["reason"]]
    assert (rejected["file"], rejected["reason"]) == ("b.dat", "header")
    assert "no header names; add its header" in rejected["detail"]
