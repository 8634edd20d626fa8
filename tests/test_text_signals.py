"""Signals in text files: the forms in which programs write them, and files that are refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgjax.signals import LEADS
from tfds_builders.formats import text_signals, text_times
from tfds_builders.formats.text_signals import Expected
from tfds_builders.recording.quality import RecordingError

VALUES = np.random.default_rng(0).integers(-2000, 2000, (300, 12)) / 1000
"""float64 [time, lead] in mV."""
HEADER = ",".join(LEADS)
SECONDS = np.arange(300) / 500


def _rows(values: np.ndarray = VALUES, delimiter: str = ",", first: Any = None) -> str:
    """Returns one line for each sample, with a cell of `first` in front of it."""
    cells = [[f"{value:.3f}" for value in row] for row in values]
    if first is not None:
        cells = [[str(item), *row] for item, row in zip(first, cells, strict=True)]
    return "\n".join(delimiter.join(row) for row in cells) + "\n"


def _comma(text: str) -> str:
    return text.replace(".", ",")


def _expected(**changes: Any) -> Expected:
    return Expected(**{"leads": LEADS, "units": "mV", "rate_hz": 500.0} | changes)


def _quote(text: str) -> str:
    """Returns lines with ; between cells as lines with commas between cells in quotes."""
    rows = [line.split(";") for line in text.splitlines()]
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)


def _read(path: Path, text: str, encoding: str = "utf-8", **changes: Any) -> np.ndarray:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    signals = text_signals.read(path, _expected(**changes))
    assert text_signals.measure(path, _expected(**changes)).samples == len(signals.values)
    return signals.values


FORMS = {
    "header": f"{HEADER}\n{_rows()}",
    "no header": _rows(),
    "lower case": f"{HEADER.lower()}\n{_rows()}",
    "quotes": _quote(f"{HEADER}\n{_rows()}".replace(",", ";")),
    "German Excel": _comma(f"{HEADER}\n{_rows(delimiter=';')}").replace(HEADER, ";".join(LEADS)),
    "decimal commas in quotes": _quote(_comma(_rows(delimiter=";"))),
    "tabs": "\t".join(LEADS) + "\n" + _rows(delimiter="\t"),
    "columns of spaces": "   ".join(LEADS) + "\n" + _rows(delimiter="    "),
    "spaces and decimal commas": _comma(_rows(delimiter=" ")),
    "bars": "|".join(LEADS) + "\n" + _rows(delimiter="|"),
    "numpy.savetxt": f"# {HEADER}\n{_rows()}",
    "pandas with its index": f",{HEADER}\n{_rows(first=range(300))}",
    "pandas without names": ",".join(map(str, range(12))) + f"\n{_rows()}",
    "R": '"' + '" "'.join(LEADS) + '"\n' + _rows(delimiter=" ", first=range(1, 301)),
    "rdsamp -c": "'Elapsed time'"
    + "".join(f",'{lead}'" for lead in LEADS)
    + "\n'seconds'"
    + ",'mV'" * 12
    + f"\n{_rows(first=SECONDS)}",
    "units": ",".join(f"{lead} (mV)" for lead in LEADS) + f"\n{_rows()}",
    "units behind _": ",".join(f"{lead}_mV" for lead in LEADS) + f"\n{_rows()}",
    "time without header": _rows(first=SECONDS),
    "sample numbers without header": _rows(first=range(1, 301)),
    "time in ms": f"time_ms,{HEADER}\n{_rows(first=range(0, 600, 2))}",
    "rounded times": f"t,{HEADER}\n{_rows(first=[f'{time:.2f}' for time in SECONDS])}",
    "time of day": f"timestamp,{HEADER}\n{_rows(first=[f'12:00:0{time:.3f}' for time in SECONDS])}",
    "delimiter at the end": f"{HEADER}\n{_rows()}".replace("\n", ",\n"),
    "delimiter at the end of rows": _rows().replace("\n", ",\n"),
    "lines above": f"Name: Jane\nRate,500\nsep=,\n\n{HEADER}\n{_rows()}",
    "Windows": f"{HEADER}\n{_rows()}".replace("\n", "\r\n"),
    "other names": ",".join(f"ch{number}" for number in range(12)) + f"\n{_rows()}",
    "further columns": (f"{HEADER},note,RESP\n" + _rows().replace("\n", ",N,9e9\n")),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_forms_of_text_are_recognised(tmp_path, text):
    np.testing.assert_array_equal(_read(tmp_path / "a.csv", text), VALUES)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_compressed_files(tmp_path, encoding):
    text = f"Größe\n{HEADER}\n{_rows()}"
    for name in ("a.csv", "a.txt.gz"):
        np.testing.assert_array_equal(_read(tmp_path / name, text, encoding), VALUES)


def test_columns_are_found_by_name_in_any_order(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(",".join(["x", "Lead V1", "II", "EKG A"]) + "\n" + "a,1,2,3\n" * 5)
    names = text_signals.read(path, _expected(leads=(), lead_names=(("ekg a", "I"),))).names
    assert names == ("Lead V1", "II", "EKG A")
    assert text_signals.measure(path, _expected()).notes == (text_signals.LEFT_OUT_OTHERS,)


@pytest.mark.parametrize("word", ["", "NaN", "NA", "null", "-"])
def test_missing_samples(tmp_path, word):
    values = VALUES.copy()
    values[3, 4] = np.nan
    values[5:, 11] = np.nan
    values[:, 7] = np.nan
    text = f"{HEADER}\n{_rows(values)}".replace("nan", word)
    np.testing.assert_array_equal(_read(tmp_path / "a.csv", text), values)


LEAD_ROWS = _rows(VALUES.T).splitlines()
NAMED_ROWS = [f"{lead},{row}" for lead, row in zip(LEADS, LEAD_ROWS, strict=True)]
BY_LEAD = {
    "numbers": LEAD_ROWS,
    "names in front": NAMED_ROWS,
    "sample numbers above": ["lead," + ",".join(map(str, range(300))), *NAMED_ROWS],
}


@pytest.mark.parametrize("lines", BY_LEAD.values(), ids=BY_LEAD)
def test_a_row_may_hold_a_lead(tmp_path, lines):
    values = _read(tmp_path / "a.csv", "\n".join(lines), by_lead=True)
    np.testing.assert_array_equal(values, VALUES)


ONE = VALUES[:, :1]
SINGLE = {
    "column": _rows(ONE),
    "column with decimal commas": _comma(_rows(ONE)),
    "name": f"I\n{_rows(ONE)}",
    "name and decimal commas": _comma(f"I\n{_rows(ONE)}"),
    "sample numbers": _rows(ONE, first=range(300)),
    "times": f"t,I\n{_rows(ONE, first=SECONDS)}",
    "times with decimal commas": _comma(f"t;I\n{_rows(ONE, ';', first=SECONDS)}"),
}


@pytest.mark.parametrize("text", SINGLE.values(), ids=SINGLE)
def test_a_single_lead(tmp_path, text):
    np.testing.assert_array_equal(_read(tmp_path / "a.csv", text, leads=("I",)), ONE)


LINES = _rows().splitlines()
TIMES = f"time,{HEADER}\n"
REFUSED = {
    "ragged": ("shape", "line 202 has 3 cells instead of 12", [HEADER, *LINES[:200], "1,2,3"]),
    "word": ("format", "column I: line 202 holds no number", [HEADER, *LINES[:200], HEADER]),
    "underscore": ("format", "line 2 holds no number", [HEADER, "1_0" + ",1" * 11, *LINES]),
    "no text": ("format", "no text", ["\0\1"]),
    "no table": ("format", "no table of numbers", ["An ECG of Jane", "with some words"]),
    "empty": ("format", "no table of numbers", [""]),
    "header alone": ("format", "no table of numbers", [HEADER]),
    "columns": ("format", "8 columns without names of leads", [_rows(VALUES[:, :8])]),
    "decimal commas": ("format", "24 columns without names of leads", [_comma(_rows())]),
    "both signs": (
        "format",
        "decimal comma and others with a point",
        [HEADER.replace(",", ";"), _comma(_rows(delimiter=";")).replace(",", ".", 1)],
    ),
    "other units": ("units", "column I is in uV", [f"I (uV),{HEADER[2:]}", *LINES]),
    "no voltage": ("units", "a unit that is no voltage", [f"I [a.u.],{HEADER[2:]}", *LINES]),
    "units below": ("units", "column I is in uV", [HEADER, "uV" + ",uV" * 11, *LINES]),
    "rate": ("rate", "is not 500 Hz", [TIMES + _rows(first=2 * SECONDS)]),
    "back": ("shape", "go back at sample 151", [TIMES + _rows(first=np.tile(SECONDS[:150], 2))]),
    "gap": (
        "shape",
        "gap of 1.002 after sample 150",
        [TIMES + _rows(first=np.r_[SECONDS[:150], 1 + SECONDS[150:]])],
    ),
}


@pytest.mark.parametrize(("reason", "message", "lines"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_signals_or_contradict_themselves(tmp_path, reason, message, lines):
    with pytest.raises(RecordingError, match=message) as caught:
        _read(tmp_path / "a.csv", "\n".join(lines))
    assert caught.value.reason == reason and "Jane" not in str(caught.value)


def test_a_ragged_row_of_a_lead_is_refused(tmp_path):
    text = "\n".join(LEAD_ROWS).replace(",", "", 1)
    with pytest.raises(RecordingError, match="line 2 has 300 cells instead of 299"):
        _read(tmp_path / "a.csv", text, by_lead=True)


def test_a_damaged_or_absent_file_is_refused(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(_rows().encode())[:99])
    for name, reason in (("a.csv.gz", "format"), ("absent.csv", "missing_file")):
        with pytest.raises(RecordingError) as caught:
            text_signals.read(tmp_path / name, _expected())
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "unit_s"),
    [
        *(("time", 0), ("T", 0), ("Sample #", 0), ("", 0), ("Unnamed: 0", 0), ("Time [s]", 1)),
        *(("time_ms", 1e-3), ("Seconds", 1), ("t (us)", 1e-6), ("elapsed time", 0)),
        *(("I", None), ("V1", None), ("heart rate", None), ("ecg", None)),
    ],
)
def test_names_of_columns_of_times(name, unit_s):
    assert text_times.unit_s(name) == unit_s
