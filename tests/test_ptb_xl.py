"""The builder of PTB-XL, on a tiny folder in its layout, and on the real data if available.

ECGJAX_PTB_XL is the unpacked folder of PTB-XL. ECGJAX_SAMPLES is a folder with ptb-xl-500hz, which
holds records at both rates, and cinc-2021. ECGJAX_KILLS is the number of times that the conversion
of the real data is killed.
"""

import datetime
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from tfds_builders.conversion import plan
from tfds_builders.formats import wfdb
from tfds_builders.prepare import prepare
from tfds_builders.ptb_xl import ptb_xl_dataset_builder as ptb_xl

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _prepare(source: Path, out: Path, **options) -> dict[str, list]:
    prepared = prepare("ptb_xl/100hz", out, source=source, **options)
    return pyarrow.parquet.read_table(prepared / "records.parquet").to_pydict()


def test_all_columns_are_read(tmp_path):
    table = tiny_ptb_xl.rows([3, 8, 9, 10])
    table[1] |= {"age": "300.0", "sex": "0", "scp_codes": "{'AFIB': 0.0}", "device": "", "site": ""}
    table[1] |= {"recording_date": ""}
    records = _prepare(tiny_ptb_xl.write(tmp_path / "raw", table), tmp_path / "out")
    assert records["record_id"] == ["00001", "00002", "00003", "00004"]
    assert records["split"] == ["train", "train", "validation", "test"]
    assert records["fold"] == [3, 8, 9, 10]
    assert records["age"][:2] == [56.0, 90.0] and records["sex"][:2] == ["female", "male"]
    assert records["labels"][:2] == [["NORM", "SR"], ["AFIB"]]
    assert records["recorded_at"][:2] == [datetime.datetime(1984, 11, 9, 9, 17, 34), None]
    assert records["device"][:2] == ["CS-12 E", None] and records["site"][:2] == ["0", None]


def test_signals_pass_bit_for_bit(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 1, 9, 10]))
    prepared = prepare("ptb_xl", tmp_path / "out", source=source)
    builder: Any = tfds.builder_from_directory(prepared)
    for example in builder.as_data_source("train"):
        record = source / f"records100/00000/{example['record_id'].decode()}_lr"
        np.testing.assert_array_equal(
            example["signal"], tiny_ptb_xl.read_by_wfdb(record, physical=False).d_signal
        )


def test_a_limit_has_a_folder_of_its_own_and_a_second_call_changes_nothing(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 1, 1, 9, 10]))
    part = prepare("ptb_xl", tmp_path / "out", source=source, limit=2)
    whole = prepare("ptb_xl/100hz", tmp_path / "out", source=source)
    assert part != whole and json.loads((part / "report.json").read_text())["found"] == 4
    before = {file: file.stat().st_mtime_ns for file in part.iterdir()}
    assert prepare("ptb_xl", tmp_path / "out", source=source, limit=2) == part
    assert before == {file: file.stat().st_mtime_ns for file in part.iterdir()}
    (part / "records.parquet").unlink()
    with pytest.raises(InputError, match="lacks records.parquet; delete the folder"):
        prepare("ptb_xl", tmp_path / "out", source=source, limit=2)


def test_the_remains_of_a_killed_conversion_are_removed(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 9, 10]))
    stale = tmp_path / "out/ptb_xl/100hz/incomplete.K1LLED_2.0.0"
    stale.mkdir(parents=True)
    (stale / "train-0.part").write_bytes(b"half a shard")
    prepared = prepare("ptb_xl/100hz", tmp_path / "out", source=source)
    assert prepared.is_dir() and not stale.exists()


def test_a_record_that_cannot_be_read_is_rejected_with_its_reason(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 1, 1, 1, 1, 9, 10]))
    folder = source / "records100/00000"
    (folder / "00001_lr.dat").write_bytes((folder / "00001_lr.dat").read_bytes()[:20_000])
    (folder / "00002_lr.hea").unlink()
    tiny_ptb_xl.write_record(folder / "00003_lr", samples=900)
    tiny_ptb_xl.write_record(folder / "00004_lr", fs=250)
    prepared = prepare("ptb_xl", tmp_path / "out", source=source)
    summary = json.loads((prepared / "report.json").read_text())
    reasons = {rejection["record_id"]: rejection["reason"] for rejection in summary["rejections"]}
    assert reasons == {
        "00001": "length",
        "00002": "missing_file",
        "00003": "length",
        "00004": "rate",
    }
    assert (summary["found"], summary["written"], summary["rejected"]) == (7, 3, 4)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ecg_id", "one"),
        ("patient_id", ""),
        ("patient_id", "1.5"),
        ("age", "-1"),
        ("age", "150"),
        ("age", "nan"),
        ("sex", "2"),
        ("strat_fold", "11"),
        ("strat_fold", ""),
        ("recording_date", "yesterday"),
        ("scp_codes", ""),
        ("scp_codes", "['NORM']"),
        ("scp_codes", "__import__('os').getcwd()"),
        ("scp_codes", "{" * 5000),
        ("filename_lr", "../../etc/passwd"),
        ("filename_lr", "records100/00000/../00000/00001_lr"),
    ],
)
def test_a_cell_that_cannot_be_read_is_an_error_that_names_it(tmp_path, column, value):
    (tmp_path / "records100").mkdir()
    tiny_ptb_xl.write_table(tmp_path, [tiny_ptb_xl.ROW | {column: value}])
    builder = ptb_xl.Builder(config="100hz", source=tmp_path)
    with pytest.raises(InputError, match=f"ptbxl_database.csv: ecg_id .*: {column} ") as caught:
        builder.find_recordings()
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_ptb_xl_is_refused(tmp_path):
    def fails(source: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            prepare("ptb_xl/100hz", tmp_path / "out", source=source)

    fails(tmp_path / "absent", "absent: no such folder; give the one that holds ptb_xl")
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", "ptbxl_database.csv: no such file; give the folder of PTB-XL")
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 9, 10]))
    with pytest.raises(InputError, match="records500: no such folder"):
        prepare("ptb_xl/500hz", tmp_path / "out", source=source)
    table = source / "ptbxl_database.csv"
    text = table.read_text()
    table.write_text(text.replace("strat_fold", "fold"))
    fails(source, "lacks column strat_fold")
    table.write_text(text.splitlines()[0] + "\n")
    fails(source, "no recordings found")
    table.write_bytes(b"\xff\xfe" + text.encode())
    fails(source, "ptbxl_database.csv: .*replace the file")
    table.write_text(text[: len(text) - 60])  # cut in the middle of the last row
    fails(source, "after row 3: unexpected end of data; replace the file")


def test_without_a_source_the_zip_is_fetched(tmp_path, monkeypatch):
    source = tiny_ptb_xl.write(tmp_path / "unpacked" / ptb_xl.FOLDER, tiny_ptb_xl.rows([1, 9, 10]))
    asked = []

    def download_and_extract(manager, url):
        asked.append(url)
        return source.parent

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: open(os.devnull))
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download_and_extract)
    prepared = prepare("ptb_xl", tmp_path / "out")
    assert len(pyarrow.parquet.read_table(prepared / "records.parquet")) == 3
    assert asked == [ptb_xl.ZIP_URL] and ptb_xl.ZIP_URL.startswith("https://physionet.org/")


def test_an_unreachable_server_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(
        InputError, match="not known; fetch and unpack it, and give its folder as --source"
    ):
        prepare("ptb_xl", tmp_path / "out")


def _command(*arguments) -> subprocess.CompletedProcess:
    process = _start(*arguments)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _start(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "ecgjax.launch.prepare", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def test_the_command_converts_and_reports(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 1, 1, 9, 10]))
    (source / "records100/00000/00002_lr.dat").write_bytes(b"")
    done = _command("--dataset", "ptb_xl/100hz", "--source", source, "--out", tmp_path / "out")
    prepared = tmp_path / "out/ptb_xl/100hz/2.0.0"
    assert done.returncode == 0, done.stderr
    assert (
        "5 found = 4 written + 1 rejected" in done.stdout and "1 because of length" in done.stdout
    )
    assert f"python -m ecgjax.launch.pretrain --data {prepared}" in done.stdout
    assert "5 of 5 recordings" in done.stderr and (prepared / "report.html").is_file()


def test_the_command_fails_with_one_line(tmp_path):
    done = _command("--dataset", "ptb_xl", "--source", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def _folder(variable: str, *below: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name a folder with the real recordings")
    return Path(os.environ[variable], *below)


def test_real_metadata_have_the_published_counts():
    builder = ptb_xl.Builder(config="100hz", source=_folder("ECGJAX_PTB_XL"))
    recordings = plan.select(builder.find_recordings(), None)
    assert Counter(r.split for r in recordings) == {
        "train": 17_418,
        "validation": 2_183,
        "test": 2_198,
    }
    assert len({r.source_patient_id for r in recordings}) == 18_869
    labels = Counter(label for r in recordings for label in r.labels)
    expected = {"AFIB": 1514, "AFLT": 73, "PVC": 1143, "PAC": 398, "1AVB": 793, "NORM": 9514}
    assert {code: labels[code] for code in expected} == expected
    assert sum(r.age == 90 for r in recordings) == 293


def test_real_signals_equal_those_of_wfdb():
    source = _folder("ECGJAX_PTB_XL")
    builder = ptb_xl.Builder(config="100hz", source=source)
    recordings = builder.find_recordings()
    for number in np.random.default_rng(0).choice(len(recordings), 500, replace=False):
        stored = builder.read_recording(recordings[number])["signal"]
        record = builder.record_path(recordings[number])
        expected = tiny_ptb_xl.read_by_wfdb(record, physical=False)
        np.testing.assert_array_equal(stored, expected.d_signal)


@pytest.mark.parametrize("config", ["100hz", "500hz"])
def test_real_records_at_both_rates_equal_those_of_wfdb(tmp_path, config):
    source = _folder("ECGJAX_SAMPLES", "ptb-xl-500hz")
    prepared = prepare(f"ptb_xl/{config}", tmp_path, source=source)
    builder: Any = tfds.builder_from_directory(prepared)
    examples = [
        example for split in builder.info.splits for example in builder.as_data_source(split)
    ]
    assert len(examples) == 40
    for example in examples:
        (record,) = source.glob(f"records{config[:3]}/*/{example['record_id'].decode()}_?r.hea")
        expected = tiny_ptb_xl.read_by_wfdb(record.with_suffix(""), physical=False).d_signal
        np.testing.assert_array_equal(example["signal"], expected)


def test_a_real_conversion_survives_repeated_kills(tmp_path):
    """Kills it ECGJAX_KILLS times at random; the result has the bytes of an uninterrupted one."""
    words = ["--dataset", "ptb_xl/100hz", "--source", _folder("ECGJAX_PTB_XL")]
    started = time.monotonic()
    assert _command(*words, "--out", tmp_path / "whole").returncode == 0
    whole_s = time.monotonic() - started
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    kills = int(os.environ.get("ECGJAX_KILLS", "2"))
    for number in range(kills):
        process = _start(*words, "--out", tmp_path / "killed", "--workers", 1 + number % 2)
        while not _finished_shards(tmp_path / "killed") and process.poll() is None:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, whole_s / kills / 2))  # too short to finish
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, seed
    assert _finished_shards(tmp_path / "killed"), seed
    done = _command(*words, "--out", tmp_path / "killed")
    assert "21,799 found = 21,799 written" in done.stdout, (seed, done.stderr)
    whole = tmp_path / "whole/ptb_xl/100hz"
    killed = tmp_path / "killed/ptb_xl/100hz"
    assert sorted(path.name for path in killed.rglob("*")) == sorted(
        path.name for path in whole.rglob("*")
    ), seed
    for file in (whole / "2.0.0").iterdir():
        assert file.read_bytes() == (killed / "2.0.0" / file.name).read_bytes(), (seed, file.name)


def _finished_shards(out: Path) -> list[Path]:
    return list(out.rglob(".unfinished-2.0.0/*.json"))


def test_real_records_of_cinc_2021_are_read():
    """They are MATLAB files with other gains and lengths."""
    headers = sorted(_folder("ECGJAX_SAMPLES").glob("cinc-2021/*.hea"))
    assert headers
    for header in headers:
        read, _ = wfdb.read_record(header.with_suffix(""))
        stored = np.fromfile(header.with_suffix(".mat"), "<i2", offset=24).reshape(-1, 12)
        gain = [
            float(line.split()[2].split("/")[0].split("(")[0])
            for line in header.read_text().splitlines()[1:13]
        ]
        np.testing.assert_allclose(read.signal, stored / np.array(gain) * 1000, atol=0.5)
