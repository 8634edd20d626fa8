"""WFDB records in segments are one record, as the package wfdb reads them."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from helpers import tiny_ptb_xl

from ecgjax.signals import LEADS, MISSING
from tfds_builders.formats import wfdb
from tfds_builders.prepare import prepare
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.quality import RecordingError

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

TWELVE = tuple(tiny_ptb_xl.NAMES)


def _write_segment(
    folder: Path, name: str, samples: int, names: tuple[str, ...] = TWELVE, *, gain: float = 1000
) -> np.ndarray:
    count = len(names)
    settings = {"units": ["mV"] * count, "fmt": ["16"] * count, "baseline": [0] * count}
    return tiny_ptb_xl.write_record(
        folder / name,
        seed=samples,
        samples=samples,
        sig_name=list(names),
        adc_gain=[gain] * count,
        **settings,
    )


def _write_layout(folder: Path, name: str, names: tuple[str, ...] = TWELVE) -> None:
    lines = [f"~ 0 1000(0)/mV 16 0 0 0 0 {lead}" for lead in names]
    (folder / f"{name}.hea").write_text("\n".join([f"{name} {len(names)} 100 0", *lines, ""]))


def _write_master(folder: Path, *segments: tuple[str, int], first: str = "") -> None:
    total = sum(samples for _, samples in segments)
    lines = [f"{name} {samples}" for name, samples in segments]
    first = first or f"a/{len(segments)} 12 100 {total}"
    (folder / "a.hea").write_text("\n".join([first, *lines, ""]))


def _write_fixed(folder: Path) -> np.ndarray:
    """Writes a record of two segments with a gap between them, and returns its samples."""
    first = _write_segment(folder, "a_1", 400)
    second = _write_segment(folder, "a_2", 300)
    _write_master(folder, ("a_1", 400), ("~", 50), ("a_2", 300))
    return np.concatenate([first, np.full((50, 12), MISSING, np.int16), second])


def _read(folder: Path, **arguments) -> tuple[np.ndarray, float]:
    stored, rate_hz = wfdb.read_record(folder / "a", **arguments)
    return stored.signal, rate_hz


def _read_by_wfdb(folder: Path) -> np.ndarray:
    """Reads the record as one with wfdb: int16 [time, 12] in uV, MISSING for NaN."""
    record = tiny_ptb_xl.wfdb.rdrecord(str(folder / "a"), m2s=True)
    names = [name.casefold() for name in record.sig_name]
    columns = [names.index(lead.casefold()) for lead in LEADS]
    value_uv = record.p_signal[:, columns] * 1000
    return np.where(np.isnan(value_uv), MISSING, value_uv.round()).astype(np.int16)


def test_the_fixed_layout(tmp_path):
    stored = _write_fixed(tmp_path)
    signal, rate_hz = _read(tmp_path)
    assert rate_hz == 100
    np.testing.assert_array_equal(signal, stored)
    _write_master(tmp_path, ("a_1", 400), ("a_2", 300))  # wfdb has no gaps in this layout
    signal, _ = _read(tmp_path)
    np.testing.assert_array_equal(signal, np.delete(stored, range(400, 450), axis=0))
    np.testing.assert_array_equal(signal, _read_by_wfdb(tmp_path))


def test_the_variable_layout_with_other_signals_order_and_gain(tmp_path):
    _write_layout(tmp_path, "a_layout", (*TWELVE, "resp"))
    _write_segment(tmp_path, "a_1", 200, (*TWELVE[::-1], "resp"))
    _write_segment(tmp_path, "a_2", 300, ("II", "I", "V1"), gain=500)
    _write_segment(tmp_path, "a_3", 100, ("resp", "ABP"))
    _write_segment(tmp_path, "a_4", 250, TWELVE)
    segments = (("a_layout", 0), ("a_1", 200), ("~", 40), ("a_2", 300), ("a_3", 100), ("a_4", 250))
    _write_master(tmp_path, *segments, first="a/6 13 100 890")
    signal, _ = _read(tmp_path)
    expected = _read_by_wfdb(tmp_path)
    calculated = slice(240, 540), slice(2, 6)
    assert (expected[calculated] == MISSING).all() and (signal[calculated] != MISSING).all()
    one, two, three = signal[240:540, :3].astype(int).T
    assert abs(three - (two - one)).max() <= 1  # each is rounded to a microvolt
    expected[calculated] = signal[calculated]
    np.testing.assert_array_equal(signal, expected)
    (tmp_path / "a_3.dat").unlink()  # it has no lead, so nobody looks at it
    np.testing.assert_array_equal(_read(tmp_path)[0], signal)


def test_a_lead_must_be_in_one_segment_at_least(tmp_path):
    _write_layout(tmp_path, "a_layout")
    _write_segment(tmp_path, "a_1", 200, ("I", "II", "V1"))
    _write_segment(tmp_path, "a_2", 200, ("V2", "III", "I"))
    _write_master(tmp_path, ("a_layout", 0), ("a_1", 200), ("a_2", 200))
    with pytest.raises(RecordingError, match="lacks lead V3, V4, V5, V6"):
        _read(tmp_path)
    signal, _ = _read(tmp_path, rule=LeadRule(allow_missing=True))
    present = signal != MISSING
    assert present[:, :6].all() and present[:200, 6].all() and present[200:, 7].all()
    assert not present[:200, 7].any() and not present[200:, 6].any()


def test_a_master_without_length_and_segments_without_rate(tmp_path):
    stored = _write_fixed(tmp_path)
    _write_master(tmp_path, ("a_1", 400), ("~", 50), ("A_2", 300), first="a/3 12 100")
    header = tmp_path / "a_2.hea"
    header.write_text(re.sub(r"^a_2 12 100 300", "a_2 12", header.read_text()))
    header.rename(tmp_path / "a_2.HEA")
    np.testing.assert_array_equal(_read(tmp_path)[0], stored)


def test_segments_with_several_samples_per_frame(tmp_path):
    _write_fixed(tmp_path)
    for name, frames in (("a_1", 200), ("a_2", 150)):
        header = tmp_path / f"{name}.hea"
        text = re.sub(r" 100 \d+\n", f" 50 {frames}\n", header.read_text(), count=1)
        header.write_text(re.sub(r"dat 16 1000\S+ 16 0 \S+ \S+", "dat 16x2 1000/mV 16 0 0 0", text))
    _write_master(tmp_path, ("a_1", 200), ("~", 25), ("a_2", 150), first="a/3 12 50 375")
    signal, rate_hz = _read(tmp_path)
    assert rate_hz == 100 and signal.shape == (750, 12)
    assert (signal[400:450] == MISSING).all() and (signal[450] != MISSING).all()


def _replaced(name: str, pattern: str, replacement: str):
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert re.search(pattern, text, flags=re.MULTILINE)
        (folder / name).write_text(re.sub(pattern, replacement, text, flags=re.MULTILINE))

    return change


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        (lambda folder: (folder / "a_2.hea").unlink(), "missing_file", "a_2.hea"),
        (lambda folder: (folder / "a_2.dat").unlink(), "missing_file", "a_2.dat"),
        (lambda folder: (folder / "a_2.dat").write_bytes(b"1"), "length", "a_2.dat"),
        (lambda folder: (folder / "a_2.dat").write_bytes(bytes(7200)), "checksum", "a_2.hea"),
        (_replaced("a_2.hea", "12 100 300", "12 200 300"), "header", "a_2.hea"),
        (_replaced("a_2.hea", "12 100 300", "12 100 200"), "header", "a_2.hea"),
        (_replaced("a_2.hea", "a_2 12 100", "a_2/1 12 100"), "header", "a_2.hea"),
        (_replaced("a_2.hea", " V3$", " V7"), None, ""),
        (_replaced("a.hea", "^a_2", "../a_2"), "file_name", "a.hea"),
        (_replaced("a.hea", "^a_2", "/etc/a_2"), "file_name", "a.hea"),
        (_replaced("a.hea", "^a_2 300", "a_2 299"), "header", "a.hea"),
        (_replaced("a.hea", "^a_2 300", "a_2"), "header", "a.hea"),
        (_replaced("a.hea", "^a_2 300", "a_2 0"), "header", "a.hea"),
        (_replaced("a.hea", "^a_2 300\n", ""), "header", "a.hea"),
        (_replaced("a.hea", "^a/3 12 100 750", "a/3 12 100 751"), "header", "a.hea"),
        (_replaced("a.hea", "^a/3 12 100 750", "a/x 12 100 750"), "header", "a.hea"),
    ],
)
def test_a_damaged_segment_rejects_the_record_by_name(tmp_path, change, reason, named):
    stored = _write_fixed(tmp_path)
    change(tmp_path)
    if reason is None:  # V3 is missing in the second segment
        stored[450:, LEADS.index("V3")] = MISSING
        np.testing.assert_array_equal(_read(tmp_path)[0], stored)
        return
    with pytest.raises(RecordingError, match="; ") as caught:
        _read(tmp_path)
    assert caught.value.reason == reason and str(caught.value).startswith(str(tmp_path / named))


def _prepare(tmp_path: Path) -> tuple[Path, list[dict]]:
    key = tmp_path / "key"
    prepared = prepare(
        "wfdb_folder/100hz", tmp_path / "out", source=tmp_path / "raw", patient_key=key
    )
    return prepared, pyarrow.parquet.read_table(prepared / "records.parquet").to_pylist()


def test_segments_are_no_recordings_of_their_own(tmp_path):
    raw = tmp_path / "raw"
    _write_segment(raw, "a_1", 1500)
    _write_segment(raw, "a_2", 1700)
    _write_master(raw, ("a_1", 1500), ("A_2", 1700))
    _write_segment(raw, "other", 1000)
    _, rows = _prepare(tmp_path)
    assert len(rows) == 4 and len({row["patient_id"] for row in rows}) == 2
    assert sorted(row["record_id"][-3:] for row in rows if "-" in row["record_id"]) == [
        "-w1",
        "-w2",
        "-w3",
    ]


def test_segments_of_a_damaged_record_are_rejected_with_it(tmp_path):
    raw = tmp_path / "raw"
    _write_segment(raw, "a_1", 1000)
    _write_segment(raw, "b", 1010)
    _write_master(raw, ("a_1", 1000), ("absent", 1000), first="a/3 12 100 2000")
    for name, other in (("c", "d"), ("d", "c")):  # name each other, and would both disappear
        (raw / f"{name}.hea").write_text(f"{name}/1 12 100 1000\n{other} 1000\n")
    (raw / "e.hea").write_text("e/1 12 100 1000\ne 1000\n")
    _prepare(tmp_path)
    table = (tmp_path / "key.wfdb_folder.csv").read_text()
    rejected = [name for name in ("a", "a_1", "b", "c", "d", "e") if f"{raw}/{name}.hea" in table]
    assert rejected == ["a", "c", "d", "e"]
