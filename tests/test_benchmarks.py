"""The benchmarks on tiny sizes: what they compare and report, not how fast it is."""

import functools
import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import CROPS
from helpers import tiny_ptb_xl  # first: it keeps wfdb's import quiet

# The folder of benchmarks/, last, so that an installed ecgjax comes first.
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import Inputs, __main__, conversion, input_path, memory, pairing, report
from ecgjax.launch.command import run
from ecgjax.objectives.patient_contrast import PatientContrast
from tfds_builders.formats.wfdb import read_record

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
TORCH = importlib.util.find_spec("torch")
TINY_INPUT = {"samples": (50,), "recordings": 24, "wfdb_recordings": 2, "rounds": 1}


@pytest.fixture
def inputs(tmp_path):
    return Inputs(scratch=tmp_path)


def _by_name(rows):
    return {row["what"]: row for row in rows}


def test_input_path_reads_random_walks(inputs):
    rows = _by_name(input_path.measure(inputs, **TINY_INPUT))
    assert list(rows)[:2] == [input_path.READ, input_path.PAIRS] and len(rows) == 4
    measured = [row for row in rows.values() if "skipped" not in row]
    assert len(measured) == (4 if TORCH else 2)
    assert all(row["ecg_per_s_core"] > 0 and row["samples"] == 50 for row in measured)
    if TORCH:
        assert rows[input_path.WFDB]["times_wfdb"] == pytest.approx(1)


def test_input_path_reads_a_prepared_data_set(inputs, prepared):
    inputs = Inputs(inputs.scratch, data=prepared)
    rows = input_path.measure(inputs, recordings=24, wfdb_recordings=2, rounds=1)
    assert {row["samples"] for row in rows} == {1000}


def test_rows_of_missing_torch_are_skipped(inputs, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = _by_name(input_path.measure(inputs, **TINY_INPUT))
    assert rows[input_path.READ]["ecg_per_s_core"] > 0
    for name in (input_path.WFDB, input_path.NPY):
        assert rows[name]["skipped"] == "torch is not installed"


def test_wfdb_copies_are_the_recordings(tmp_path):
    signal = np.random.default_rng(0).integers(-3000, 3000, (40, 12)).astype(np.int16)
    input_path._write_wfdb(tmp_path / "7", signal, 100.0)
    copy = tiny_ptb_xl.read_by_wfdb(tmp_path / "7", physical=False)
    np.testing.assert_array_equal(copy.d_signal, signal)
    stored, rate_hz = read_record(tmp_path / "7")
    np.testing.assert_array_equal(stored.signal, signal)
    assert rate_hz == 100


def test_conversion_compares_the_same_records(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "source", tiny_ptb_xl.rows([1, 2, 3, 9, 10]))
    inputs = Inputs(tmp_path, source=source)
    rows = _by_name(conversion.measure(inputs, limit=2, wfdb_every=2, rounds=1))
    assert rows[conversion.PREPARE]["records"] == 4 and rows[conversion.WFDB]["records"] == 2
    assert all(row["records_per_s_core"] > 0 for row in rows.values())


def test_conversion_names_the_missing_source(inputs):
    (row,) = conversion.measure(inputs)
    assert "--source" in row["skipped"]


@pytest.mark.usefixtures("tiny_encoders")
def test_memory_of_the_loss_and_of_the_step(inputs, monkeypatch):
    cropped = functools.partial(PatientContrast, augmentation=CROPS)
    monkeypatch.setattr(memory, "PatientContrast", cropped)
    rows = memory.measure(
        inputs, views=(512, 2048), encoders=("compact_resnet",), pairs=(8, 32), microbatch=8
    )
    megabytes = {(row["what"], row["views"]): row["temporary_mb"] for row in rows}
    assert len(megabytes) == 7 and all(value > 0 for value in megabytes.values())
    assert megabytes["NT-Xent, ecgjax", 2048] < megabytes["NT-Xent, textbook", 2048] / 2
    microbatched = megabytes["step, compact_resnet --microbatch 8", 64]
    assert microbatched < megabytes["step, compact_resnet", 64]


def test_both_losses_are_equal():
    projections = jax.random.normal(jax.random.key(0), (64, 2, memory.DIMENSION))
    patients = jax.numpy.arange(64) // 2
    textbook = jax.jit(memory._textbook)(projections, patients)
    ecgjax = jax.jit(memory._ecgjax)(projections, patients)
    np.testing.assert_allclose(textbook, ecgjax, rtol=1e-5)


def test_pairing_measures_a_process_of_its_own(inputs):
    rows = _by_name(pairing.measure(inputs, shards=2, patients=500, batch_size=100))
    assert "open 2,048 recordings" in rows
    assert all(row["wall_s"] >= 0 and 0 < row["peak_gb"] < 2 for row in rows.values())
    assert rows["an epoch's batches, by number"]["visited_once"]
    assert rows["in all"]["wall_s"] > rows["import"]["wall_s"]


def test_report_has_a_table_json_and_a_plot(tmp_path, capsys):
    rows = [
        {"what": "fast", "ecg_per_s": 12345.6, "batch": 2048},
        {"what": "slow", "skipped": "not installed"},
    ]
    report.write("speed", rows, figure="ecg_per_s", out=tmp_path)
    printed = capsys.readouterr().out
    assert "| fast | 12,346    | 2,048 |" in printed and "not installed" in printed
    saved = json.loads((tmp_path / "speed.json").read_text())
    assert (
        saved["rows"] == rows
        and {"platform", "cores", "device_kind", "jax", "date"} <= saved["machine"].keys()
    )
    assert (tmp_path / "speed.png").stat().st_size > 5000


def test_command_runs_the_named_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "conversion", "--out", str(tmp_path)])
    __main__.main()
    assert "--source" in capsys.readouterr().out
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["conversion.json"]


def test_an_unknown_benchmark_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "weather"])
    with pytest.raises(SystemExit) as end:
        run(__main__.main)
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1
