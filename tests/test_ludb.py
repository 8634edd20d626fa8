"""The builder of ludb, on records and annotation files written by wfdb."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from helpers import tiny_ptb_xl

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import LEADS, UNMARKED
from tfds_builders.formats import wfdb_annotations
from tfds_builders.formats.wfdb_annotations import Annotation
from tfds_builders.ludb import waves
from tfds_builders.prepare import prepare
from tfds_builders.recording.quality import RecordingError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates
    import wfdb

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

BEAT = [
    ("(", -100),
    ("p", -75),
    (")", -50),
    ("(", -25),
    ("N", 0),
    (")", 25),
    ("(", 60),
    ("t", 120),
    (")", 170),
]
"""Annotations of a beat, in samples at 500 Hz from the peak of its QRS complex."""
COMMENTS = [
    "<age>: 51",
    "<sex>: F",
    "<diagnoses>:",
    "Rhythm: Sinus bradycardia.",
    "Electric axis of the heart: normal",
]


def _annotate(record: Path, lead: str, marks: list[tuple[int, str]]) -> None:
    samples, symbols = map(np.array, zip(*sorted(marks), strict=True))
    wfdb.wrann(record.name, "marks", samples, symbol=symbols, write_dir=str(record.parent))
    # wfdb refuses to write an extension such as v1.
    written = record.with_name(f"{record.name}.marks")
    written.rename(record.with_name(f"{record.name}.{lead}"))


def _write(
    record: Path,
    *,
    beats=range(600, 4700, 450),
    late: dict[str, int] | None = None,
    **changes: Any,
) -> None:
    """Writes a recording with the same beats in all leads; `late` delays marks of some leads.

    `changes` are arguments of wfdb.wrsamp.
    """
    arguments = {"samples": 5000, "fs": 500, "comments": COMMENTS} | changes
    tiny_ptb_xl.write_record(record, seed=int(record.name), **arguments)
    for lead in LEADS:
        shift = (late or {}).get(lead, 0)
        marks = [(peak + offset + shift, symbol) for peak in beats for symbol, offset in BEAT]
        _annotate(record, lead.lower(), marks)


def _expected(beats=range(600, 4700, 450)) -> np.ndarray:
    marks = np.full(5000, UNMARKED, np.uint8)
    marks[beats[0] - 100 : beats[-1] + 171] = 0
    for peak in beats:
        for wave, first, last in ((1, -100, -50), (2, -25, 25), (3, 60, 170)):
            marks[peak + first : peak + last + 1] = wave
    return marks


def test_annotations_become_the_wave_of_each_sample(tmp_path):
    for number in range(1, 5):
        _write(
            tmp_path / f"raw/data/{number}",
            late={"V3": 40, "aVR": -40, "I": 40, "II": 40, "III": 40},
        )
    for rate_hz, step in ((500, 1), (100, 5)):
        prepared = prepare(f"ludb/{rate_hz}hz", tmp_path / "out", source=tmp_path / "raw")
        records = Records(prepared)
        np.testing.assert_array_equal(
            records.waves(np.arange(4)), np.tile(_expected()[::step], (4, 1))
        )
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(
            prepared / "records.parquet"
        ).to_pylist()
        assert {row["record_id"] for row in rows} == {"001", "002", "003", "004"}
        assert {(row["age"], row["sex"], *row["labels"]) for row in rows} == {
            (51.0, "female", "SBRAD")
        }
    stored = tiny_ptb_xl.read_by_wfdb(tmp_path / "raw/data/1", physical=False).d_signal
    at_500 = Records(tmp_path / "out/ludb/500hz")
    first = next(index for index in range(4) if at_500.row(index)["record_id"] == "001")
    np.testing.assert_array_equal(at_500.read([first])[0], stored)


def test_gains_that_scale_each_lead_to_1_mv_are_replaced_and_counted(tmp_path):
    _write(tmp_path / "raw/data/1")
    _write(
        tmp_path / "raw/data/2", adc_gain=[900.0 + lead for lead in range(12)], baseline=[-7] * 12
    )
    prepared = prepare("ludb/500hz", tmp_path / "out", source=tmp_path / "raw")
    assert json.loads((prepared / "report.json").read_text())["quality"]["corrected"] == 1
    records = Records(prepared)
    stored = {records.row(index)["record_id"]: records.read([index])[0] for index in (0, 1)}
    for name in ("1", "2"):
        published = tiny_ptb_xl.read_by_wfdb(tmp_path / "raw/data" / name, physical=False)
        np.testing.assert_array_equal(stored[f"00{name}"], published.d_signal)


@pytest.mark.parametrize("seed", range(4))
def test_annotations_equal_those_of_wfdb(tmp_path, seed):
    """Gaps exceed 1,023 samples, and marks have numbers, channels and texts."""
    rng = np.random.default_rng(seed)
    samples = np.cumsum(rng.choice([0, 3, 700, 1023, 1024, 70_000], size=40)) + 1
    symbols = rng.choice(list("(pNt)VA+"), size=40)
    fields = {
        "chan": rng.integers(0, 3, 40),
        "num": rng.integers(0, 5, 40),
        "subtype": rng.integers(0, 3, 40),
    }
    texts = [["", "(AFIB", "odd"][k] for k in rng.integers(0, 3, 40)]
    wfdb.wrann(
        "1", "i", samples, symbol=symbols, aux_note=texts, fs=500, write_dir=str(tmp_path), **fields
    )
    annotations = wfdb_annotations.read(tmp_path / "1.i")
    oracle = wfdb.rdann(str(tmp_path / "1"), "i", return_label_elements=["label_store"])
    # wfdb writes the rate as a text at sample 0, which its reader removes.
    annotations = [mark for mark in annotations if (mark.sample, mark.code) != (0, 22)]
    assert [mark.sample for mark in annotations] == oracle.sample.tolist() == samples.tolist()
    assert [mark.code for mark in annotations] == np.asarray(oracle.label_store).tolist()


def test_damaged_annotations_are_rejected(tmp_path):
    _annotate(tmp_path / "1", "i", [(100, "("), (2000, "N"), (2050, ")")])
    whole = (tmp_path / "1.i").read_bytes()
    refused = {
        "cut": whole[:-2],
        "odd": whole[:-1],
        "empty": b"",
        "within": whole[:-4] + b"\0\xec\0\0",
    }
    refused |= {
        "code": b"\x05\xdc\0\0",
        "text": b"\x64\xfc\0\0",
        "back": b"\x0a\x04\0\xec\xff\xff\xf0\xff\0\x04\0\0",
    }
    for name, content in refused.items():
        (tmp_path / "1.i").write_bytes(content)
        with pytest.raises(RecordingError, match="no annotation file in MIT format") as caught:
            wfdb_annotations.read(tmp_path / "1.i")
        assert caught.value.reason == "annotation", name
    with pytest.raises(RecordingError, match="is the source complete"):
        wfdb_annotations.read(tmp_path / "2.i")


def test_incomplete_waves_are_ignored():
    marks = [
        (5, 40),
        (10, 39),
        (12, 1),
        (15, 40),
        (20, 39),
        (22, 27),
        (30, 24),
        (33, 40),
        (40, 39),
        (41, 24),
        (43, 40),
    ]
    labels = waves.label_lead([Annotation(*mark) for mark in marks], 50)
    expected = np.full(50, UNMARKED)
    expected[10:44] = 0
    expected[10:16] = 2
    expected[40:44] = 1
    np.testing.assert_array_equal(labels, expected)
    assert (waves.label_lead([], 10) == UNMARKED).all()


def test_the_majority_of_marked_leads_decides():
    leads = np.full((5, 12), UNMARKED, np.uint8)
    leads[0, :6] = [1, 1, 1, 0, 0, 2]  # half of the leads are marked, most of them as P
    leads[1, :5] = 1  # fewer
    leads[2, :] = [2] * 6 + [0] * 6
    leads[3, :] = [3] * 5 + [UNMARKED] * 3 + [0] * 4
    assert waves.majority(leads).tolist() == [1, UNMARKED, 0, 3, UNMARKED]


def test_a_recording_without_the_annotations_of_a_lead_is_rejected(tmp_path):
    for number in (1, 2):
        _write(tmp_path / f"raw/data/{number}")
    (tmp_path / "raw/data/2.v6").unlink()
    prepared = prepare("ludb/100hz", tmp_path / "out", source=tmp_path / "raw")
    assert len(Records(prepared)) == 1
    assert '"annotation"' in (prepared / "report.json").read_text()


def test_a_folder_without_records_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="no data/1.hea; give the folder of LUDB"):
        prepare("ludb", tmp_path / "out", source=tmp_path / "raw")


def test_real_records_are_stored_in_microvolts_as_wfdb_reads_their_integers(tmp_path):
    """The headers' gains break Einthoven's law in most recordings, the integers in none."""
    if "ECGJAX_LUDB" not in os.environ:
        pytest.skip("ECGJAX_LUDB does not name the folder of LUDB that holds data/1.hea")
    source = Path(os.environ["ECGJAX_LUDB"])
    prepared = prepare("ludb/500hz", tmp_path / "out", source=source)
    records = Records(prepared)
    assert len(records) == 200
    law = json.loads((prepared / "report.json").read_text())["measured"]["einthoven"]
    assert law == {"recordings": 200, "exact": 200, "rounding": 200}
    broken = 0
    for index in range(0, 200, 8):
        record = source / "data" / str(int(records.row(index)["record_id"]))
        digital = tiny_ptb_xl.read_by_wfdb(record, physical=False).d_signal
        np.testing.assert_array_equal(records.read([index])[0], digital)
        three_mv = tiny_ptb_xl.read_by_wfdb(record, physical=True).p_signal[:, :3]
        broken += np.abs(three_mv @ [1, -1, 1]).max() > 0.05
    assert broken > 15
