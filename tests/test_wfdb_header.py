"""Forms of WFDB headers, and signals that are not used, which are not judged."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_ptb_xl

from ecgjax.signals import LEADS, MISSING
from tfds_builders.formats import wfdb, wfdb_header
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.quality import RecordingError

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")

OTHER = "resp"


def _write(folder: Path, *, others: int = 0, **changes) -> np.ndarray:
    """Writes record a with the twelve leads and `others` signals resp0, resp1, ... after them."""
    names = [*tiny_ptb_xl.NAMES, *(f"{OTHER}{number}" for number in range(others))]
    return tiny_ptb_xl.write_record(folder / "a", sig_name=names, samples=500, **changes)


def _text(folder: Path) -> str:
    return (folder / "a.hea").read_text()


def _edit(folder: Path, change: Callable[[str], str]) -> None:
    before = _text(folder)
    assert change(before) != before
    (folder / "a.hea").write_text(change(before))


def _read(folder: Path, **arguments) -> tuple[np.ndarray, float]:
    stored, rate_hz = wfdb.read_record(folder / "a", **arguments)
    return stored.signal, rate_hz


@pytest.mark.parametrize(
    "line",
    [
        "a.dat 16 1000.0(0)/NU 16 0 0 0 0 resp0",
        "a.dat 16 20(0)/mmHg 16 0 0 0 0 resp0",
        "a.dat 16 100/°C 16 0 0 0 0 resp0",
        "a.dat 16 100/% 16 0 0 0 0 resp0",
        "a.dat 16 0 16 0 0 0 0 resp0",
        "a.dat 16 0(0)/mV 16 0 0 0 0 resp0",
        "a.dat 16 nan 16 0 0 0 0 resp0",
        "a.dat 16 ?/? 16 0 0 0 0 resp0",
        "a.dat 16 100/mmHg 16 0 17 12345 0 resp0",
        "a.dat 16 100/mmHg sixteen 0 0 0 0 resp0",
        "a.dat 16 100/mmHg 16 0.5 0 0 0 resp0",
        "a.dat 16:7 100/mmHg 16 0 0 0 0 resp0",
        "a.dat 16",
        "b.dat 8 100/mmHg 8 0 0 0 0 resp0",
        "b.dat 310x4:3 100/mmHg 8 0 0 0 0 resp0",
        "b.dat sixteen",
        "../b.dat 16 100/mmHg 16 0 0 0 0 resp0",
        "~ 0 100/mmHg",
        "?",
    ],
)
def test_a_signal_that_is_not_used_is_not_judged(tmp_path, line):
    in_file = line.startswith("a.dat")
    stored = _write(tmp_path, others=int(in_file))
    lines = re.sub(r"^a 1\d", "a 13", _text(tmp_path)).split("\n")
    (tmp_path / "a.hea").write_text("\n".join([*lines[:13], line]), encoding="utf-8")
    signal, rate_hz = _read(tmp_path)
    np.testing.assert_array_equal(signal, stored[:, :12])
    assert rate_hz == 100


def test_another_signal_may_have_more_samples_per_frame(tmp_path):
    stored = _write(tmp_path)
    frames = [[*row, *range(4)] for row in stored]
    (tmp_path / "a.dat").write_bytes(np.array(frames, "<i2").tobytes())
    _edit(tmp_path, lambda text: text.replace("a 12", "a 13") + "a.dat 16x4 50/mmHg\n")
    np.testing.assert_array_equal(_read(tmp_path)[0], stored)


def test_leads_with_several_samples_per_frame_have_a_higher_rate(tmp_path):
    _write(tmp_path, others=1)
    frames = np.random.default_rng(0).integers(-900, 900, (500, 12 * 3 + 1))
    (tmp_path / "a.dat").write_bytes(frames.astype("<i2").tobytes())
    text = re.sub(
        r"16 1000.0\(0\)/mV (.*) \S+ \S+ 0 ", r"16x3 500(9)/mV 16 0 0 0 0 ", _text(tmp_path)
    )
    (tmp_path / "a.hea").write_text(text.replace("16x3", "16x1").replace("16x1", "16x3", 12))
    signal, rate_hz = _read(tmp_path)
    oracle = tiny_ptb_xl.wfdb.rdrecord(str(tmp_path / "a"), smooth_frames=False)
    expected = np.stack(oracle.e_p_signal[:12], axis=1) * 1000
    assert rate_hz == 300 and signal.shape == (1500, 12)
    np.testing.assert_array_equal(signal, expected.round())


def test_skew_is_undone_as_wfdb_does(tmp_path):
    _write(tmp_path)
    _edit(tmp_path, lambda text: text.replace("a.dat 16 ", "a.dat 16:3 ", 2))
    signal, _ = _read(tmp_path)
    expected = tiny_ptb_xl.read_by_wfdb(tmp_path / "a", physical=True).p_signal * 1000
    np.testing.assert_array_equal(signal == MISSING, np.isnan(expected))
    np.testing.assert_allclose(signal[:-3], expected[:-3], atol=0.01)
    assert (signal[-3:, :2] == MISSING).all() and (signal[-3:, 2:] != MISSING).all()


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (r"1000\.0\(0\)/mV (.* V3)$", r"0 \1", "units"),
        (r"1000\.0\(0\)/mV (.* V3)$", r"1000/NU \1", "units"),
        (r"a\.dat 16 (.* V3)$", r"b.dat 8 \1", "format"),
        (r"a\.dat 16 (.* V3)$", r"a.dat 16x2 \1", "format"),
        (r"a\.dat 16 (.* V3)$", r"a.dat 24 \1", "header"),
        (r"a\.dat 16 (.* V3)$", r"a.dat sixteen \1", "header"),
        (r" 16 0 (\S+ \S+ 0 V3)$", r" 16 0.5 \1", "header"),
    ],
)
def test_a_lead_is_judged_if_the_data_set_holds_it(tmp_path, pattern, replacement, reason):
    stored = _write(tmp_path)
    _edit(tmp_path, lambda text: re.sub(pattern, replacement, text, flags=re.MULTILINE))
    with pytest.raises(RecordingError, match=r"a\.hea.*; ") as caught:
        _read(tmp_path)
    assert caught.value.reason == reason
    if reason in ("units", "header") and "24" not in replacement and "sixteen" not in replacement:
        signal, _ = _read(tmp_path, rule=LeadRule(kept=("I", "V6")))
        np.testing.assert_array_equal(signal[:, [0, 11]], stored[:, [0, 11]])
        assert (signal[:, 1:11] == MISSING).all()


FIRST_LINES = ["a 12 100", "a 12 100 0", "a 12 100/360(1.5)", "a 12 100.0/1000 500", "a 12 100 500"]
TIMES = ["10:11", "10:11:12.345 01/02/2020", "[10:11:12 1/2/2020]", "0:0:0 31/02/0000"]


@pytest.mark.parametrize("first", [*FIRST_LINES, *(f"a 12 100 500 {time}" for time in TIMES)])
def test_record_lines_of_every_form(tmp_path, first):
    stored = _write(tmp_path)
    _edit(tmp_path, lambda text: "# " + re.sub(r"^a 12.*", "12\n" + first + "  # why", text))
    signal, rate_hz = _read(tmp_path)
    np.testing.assert_array_equal(signal, stored)
    assert rate_hz == 100


def test_time_without_length(tmp_path):
    stored = _write(tmp_path)
    _edit(tmp_path, lambda text: re.sub(r"^a 12.*", "a 12 100 10:11:12", text))
    assert wfdb_header.read(tmp_path / "a.hea").base == "10:11:12"
    np.testing.assert_array_equal(_read(tmp_path)[0], stored)


def test_without_a_rate_it_is_250_hz(tmp_path):
    _write(tmp_path, fs=250)
    _edit(tmp_path, lambda text: re.sub(r"^a 12.*", "a 12", text))
    oracle = tiny_ptb_xl.read_by_wfdb(tmp_path / "a", physical=True)
    signal, rate_hz = _read(tmp_path)
    assert rate_hz == 250 == oracle.fs
    np.testing.assert_array_equal(signal, (oracle.p_signal * 1000).round())


@pytest.mark.parametrize("form", ["16", "61", "160", "80", "212", "24", "32", "508", "516"])
def test_without_a_length_the_file_tells_it(tmp_path, form):
    names = tiny_ptb_xl.NAMES[:8] if form in ("508", "516") else tiny_ptb_xl.NAMES
    rule = LeadRule(kept=LEADS[:8])
    count = len(names)
    stored = np.random.default_rng(0).integers(-99, 99, (301, count))
    settings = {"fmt": [form if form not in ("61", "160") else "16"] * count, "sig_name": names}
    settings |= {"units": ["mV"] * count, "adc_gain": [1000.0] * count, "baseline": [0] * count}
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored, **settings)
    if form in ("61", "160"):
        data = stored.astype(">i2") if form == "61" else (stored + 32768).astype("<u2")
        (tmp_path / "a.dat").write_bytes(data.tobytes())
        _edit(tmp_path, lambda text: text.replace("a.dat 16 ", f"a.dat {form} "))
    with_length, _ = _read(tmp_path, rule=rule)
    _edit(tmp_path, lambda text: text.replace(" 301\n", "\n"))
    signal, _ = _read(tmp_path, rule=rule)
    np.testing.assert_array_equal(signal, with_length)
    np.testing.assert_array_equal(signal[:, :8], stored[:, :8])
    (tmp_path / "a.dat").write_bytes(b"")
    with pytest.raises(RecordingError, match="a.dat"):
        _read(tmp_path, rule=rule)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(" ", "\t"),
        lambda text: "\ufeff# a comment\n" + text,
        lambda text: text.replace(" I\n", " I # noisy\n").replace(" V6", " V6 #why"),
        lambda text: text.replace("\na.dat", "\n# between\n\n  a.dat"),
        lambda text: text.replace("a.dat 16 ", "a.dat 16x1:0+0 "),
        lambda text: text.replace("/mV", "/µV").replace("1000.0(", "1("),
        lambda text: text + "# Größe: 1,80 m\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_ways_to_write_a_header(tmp_path, change, encoding):
    stored = _write(tmp_path)
    text = change(_text(tmp_path))
    (tmp_path / "a.hea").write_bytes(text.encode(encoding if "\ufeff" not in text else "utf-8"))
    np.testing.assert_array_equal(_read(tmp_path)[0], stored)


def test_a_number_sign_in_a_name_is_no_comment(tmp_path):
    _write(tmp_path)
    _edit(tmp_path, lambda text: text.replace(" V6\n", " ECG #6\n"))
    with pytest.raises(RecordingError, match="lacks lead V6"):
        _read(tmp_path)
    signal, _ = _read(tmp_path, rule=LeadRule(names=(("ECG #6", "V6"),)))
    assert (signal[:, 11] != MISSING).all()


@pytest.mark.parametrize(
    ("header", "data", "named"),
    [
        ("a.HEA", "a.DAT", "a.dat"),
        ("A.Hea", "a.dat", "A.DAT"),
        ("a.hea", "A.Dat", "a.dat"),
        ("ä.hea", "a\u0308.dat", "ä.dat"),
    ],
)
def test_files_are_found_in_any_case(tmp_path, header, data, named):
    stored = _write(tmp_path)
    (tmp_path / "a.hea").write_text(_text(tmp_path).replace("a.dat", named))
    (tmp_path / "a.hea").rename(tmp_path / header)
    (tmp_path / "a.dat").rename(tmp_path / data)
    for name in (header[:-4], header):
        signal = wfdb.read_record(tmp_path / name)[0].signal
        np.testing.assert_array_equal(signal, stored)


def test_a_name_that_several_files_have_is_refused(tmp_path):
    _write(tmp_path)
    _edit(tmp_path, lambda text: text.replace("a.dat", "A.DAT"))
    (tmp_path / "a.Dat").write_bytes(b"")
    with pytest.raises(RecordingError, match="several files have this name"):
        _read(tmp_path)


def test_links_may_not_leave_the_source(tmp_path):
    stored = _write(tmp_path / "src/record")
    _write(tmp_path / "outside")
    signal_file = tmp_path / "src/record/a.dat"
    signal_file.rename(tmp_path / "src/a.dat")
    signal_file.symlink_to("../a.dat")
    with pytest.raises(RecordingError, match="a link that leaves its folder"):
        _read(tmp_path / "src/record")
    signal, _ = _read(tmp_path / "src/record", source=tmp_path / "src")
    np.testing.assert_array_equal(signal, stored)
    signal_file.unlink()
    signal_file.symlink_to(tmp_path / "outside/a.dat")
    with pytest.raises(RecordingError, match="a link that leaves the source"):
        _read(tmp_path / "src/record", source=tmp_path / "src")
