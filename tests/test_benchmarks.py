"""The benchmarks measure what they say, on sizes at which the figures themselves mean nothing."""

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

sys.path.append(
    str(Path(__file__).parents[1])
)  # where benchmarks/ is; last, so that an installed ecgjax comes first
from benchmarks import Given, __main__, conversion, input_path, memory, pairing, report
from ecgjax.launch.command import run
from ecgjax.objectives.patient_contrast import PatientContrast
from tfds_builders.formats.wfdb import read_record

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")
TORCH = importlib.util.find_spec("torch")
TINY_INPUT = {"samples": (50,), "recordings": 24, "wfdb_recordings": 2, "rounds": 1}


@pytest.fixture
def given(tmp_path):
    return Given(scratch=tmp_path)


def _by_name(rows):
    return {row["what"]: row for row in rows}


def test_input_path_reads_made_recordings(given):
    rows = _by_name(input_path.measure(given, **TINY_INPUT))
    assert list(rows)[:2] == [input_path.READ, input_path.PAIRS] and len(rows) == 4
    measured = [row for row in rows.values() if "skipped" not in row]
    assert len(measured) == (4 if TORCH else 2)
    assert all(row["ecg_per_s_core"] > 0 and row["samples"] == 50 for row in measured)
    if TORCH:
        assert rows[input_path.WFDB]["times_wfdb"] == pytest.approx(1)


def test_input_path_reads_given_data(given, prepared):
    changed = Given(given.scratch, data=prepared)
    rows = input_path.measure(changed, recordings=24, wfdb_recordings=2, rounds=1)
    assert {row["samples"] for row in rows} == {1000}


def test_without_torch_its_rows_say_so(given, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    rows = _by_name(input_path.measure(given, **TINY_INPUT))
    assert rows[input_path.READ]["ecg_per_s_core"] > 0
    assert (
        rows[input_path.WFDB]["skipped"]
        == rows[input_path.NPY]["skipped"]
        == "torch is not installed"
    )


def test_wfdb_copies_are_the_recordings(tmp_path):
    signal = np.random.default_rng(0).integers(-3000, 3000, (40, 12)).astype(np.int16)
    input_path._write_wfdb(tmp_path / "7", signal, 100.0)
    np.testing.assert_array_equal(
        tiny_ptb_xl.read_by_wfdb(tmp_path / "7", physical=False).d_signal, signal
    )
    stored, rate_hz = read_record(tmp_path / "7")
    np.testing.assert_array_equal(stored, signal)
    assert rate_hz == 100


def test_conversion_compares_the_same_records(tmp_path):
    source = tiny_ptb_xl.write(tmp_path / "source", tiny_ptb_xl.rows([1, 2, 3, 9, 10]))
    rows = _by_name(
        conversion.measure(Given(tmp_path, source=source), limit=2, wfdb_every=2, rounds=1)
    )
    assert rows[conversion.PREPARE]["records"] == 4 and rows[conversion.WFDB]["records"] == 2
    assert all(row["records_per_s_core"] > 0 for row in rows.values())


def test_conversion_without_source_says_what_is_missing(given):
    (row,) = conversion.measure(given)
    assert "--source" in row["skipped"]


@pytest.mark.usefixtures("tiny_encoders")
def test_memory_of_the_loss_and_of_the_step(given, monkeypatch):
    monkeypatch.setattr(
        memory, "PatientContrast", functools.partial(PatientContrast, augmentation=CROPS)
    )
    rows = memory.measure(
        given, views=(512, 2048), encoders=("compact_resnet",), pairs=(8, 32), microbatch=8
    )
    figure = {(row["what"], row["views"]): row["temporary_mb"] for row in rows}
    assert len(figure) == 7 and all(value > 0 for value in figure.values())
    assert figure["NT-Xent, ecgjax", 2048] < figure["NT-Xent, textbook", 2048] / 2
    assert figure["step, compact_resnet --microbatch 8", 64] < figure["step, compact_resnet", 64]


def test_both_losses_are_the_same():
    projections = jax.random.normal(jax.random.key(0), (64, 2, memory.DIMENSION))
    patients = jax.numpy.arange(64) // 2
    textbook, ours = (
        jax.jit(loss)(projections, patients) for loss in (memory._textbook, memory._ours)
    )
    np.testing.assert_allclose(textbook, ours, rtol=1e-5)


def test_pairing_measures_a_process_of_its_own(given):
    rows = _by_name(pairing.measure(given, shards=2, patients=500, batch_size=100))
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


def test_command_measures_what_it_is_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "conversion", "--out", str(tmp_path)])
    __main__.main()
    assert "--source" in capsys.readouterr().out
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["conversion.json"]


def test_unknown_benchmark_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "weather"])
    with pytest.raises(SystemExit) as end:
        run(__main__.main)
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1
