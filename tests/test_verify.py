"""`prepare --verify`: our WFDB reader against the package wfdb, on the data of a user."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from ecgjax.signals import MISSING
from tfds_builders.formats import wfdb
from tfds_builders.prepare import prepare

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
VERSION = tiny_ptb_xl.wfdb.__version__


def test_the_command_verifies_a_tiny_ptb_xl(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 2, 9, 10]))
    options = ["--dataset", "ptb_xl", "--source", source, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "ecgjax.launch.prepare", *options, "--verify", "3"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.returncode == 0, done.stderr
    assert f"verified 3 recordings against wfdb {VERSION}\n" in done.stdout


def test_a_prepared_data_set_is_verified_without_rejected_records(tmp_path, capsys):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 2, 9, 10]))
    (source / "records100/00000/00002_lr.dat").write_bytes(b"")
    prepare("ptb_xl", tmp_path / "out", source=source)
    prepare("ptb_xl", tmp_path / "out", source=source, verify=100)
    assert capsys.readouterr().out == f"verified 3 recordings against wfdb {VERSION}\n"


def test_gains_missing_samples_and_calculated_leads_are_verified(tmp_path, capsys):
    """A header like those of CinC 2021, with a date that wfdb rejects, and windows of a record."""
    names = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6", "resp"]
    settings = {"sig_name": names, "fmt": ["212"] * 9, "units": ["mV", "uV", "mV"] * 3}
    settings |= {"adc_gain": [200.0, 0.3, 333.3] * 3, "baseline": [0, 7, -12] * 3}
    stored = np.random.default_rng(0).integers(-900, 900, (12_000, 9))
    stored[100:200, 0] = -2048  # missing
    record = tmp_path / "raw/a"
    tiny_ptb_xl.write_record(record, d_signal=stored, fs=500, **settings)
    header = tmp_path / "raw/a.hea"
    lines = header.read_text().replace("/uV", "/µV").splitlines()
    header.write_text("\n".join(["# a comment", f"{lines[0]} 05-Feb-2020 11:39:16", *lines[1:]]))
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepare("wfdb_folder/500hz", tmp_path / "out", verify=1, **settings)
    assert "verified 1 recordings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lead", "value", "message"),
    [(7, 1501, "lead V2, sample 17: 1.501 mV, not "), (0, MISSING, "lead I, sample 17: nan mV")],
)
def test_a_wrong_sample_of_our_reader_is_reported(tmp_path, monkeypatch, lead, value, message):
    source = tiny_ptb_xl.write(tmp_path / "raw", tiny_ptb_xl.rows([1, 9, 10]))
    read_record = wfdb.read_record

    def read_wrongly(record: Path) -> tuple[np.ndarray, float]:
        signal, rate_hz = read_record(record)
        signal = signal.copy()
        signal[17, lead] = value
        return signal, rate_hz

    monkeypatch.setattr(wfdb, "read_record", read_wrongly)
    with pytest.raises(InputError, match=message) as caught:
        prepare("ptb_xl", tmp_path / "out", source=source, verify=1)
    assert "records100/00000/0000" in str(caught.value) and "\n" not in str(caught.value)


def test_a_data_set_that_is_not_wfdb_is_refused_before_its_conversion(tmp_path):
    with pytest.raises(InputError, match="synthetic is not read from WFDB; leave --verify out"):
        prepare("synthetic", tmp_path / "out", verify=1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="--verify -1: give a number of at least 0"):
        prepare("ptb_xl", tmp_path / "out", verify=-1)
