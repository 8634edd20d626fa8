"""tfds_builders.formats.wfdb against the package wfdb, and on damaged records."""

import re

import numpy as np
import pytest
from helpers import tiny_ptb_xl

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING
from tfds_builders.formats import wfdb
from tfds_builders.recording.quality import RecordingError

# wfdb 4.3 calls pandas in ways that pandas 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def _read(record, **arguments) -> tuple[np.ndarray, float]:
    stored, rate_hz = wfdb.read_record(record, **arguments)
    return stored.signal, rate_hz


def _physical_uv(record) -> np.ndarray:
    """Reads a record with wfdb, in uV [time, 12] in the order of LEADS."""
    oracle = tiny_ptb_xl.read_by_wfdb(record, physical=True)
    names = [name.casefold() for name in oracle.sig_name]
    to_uv = {"mV": 1e3, "uV": 1.0, "V": 1e6}
    columns = [oracle.p_signal[:, names.index(lead.casefold())] for lead in LEADS]
    units = [oracle.units[names.index(lead.casefold())] for lead in LEADS]
    return np.stack(
        [column * to_uv[unit] for column, unit in zip(columns, units, strict=True)], axis=1
    )


def _edit(path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1, f"{pattern} is not in {path}"
    path.write_text(text)


def test_samples_at_one_uv_pass_bit_for_bit(tmp_path):
    stored = np.random.default_rng(0).integers(-32767, 32768, (500, 12))
    stored[7, 3] = MISSING
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored)
    signal, rate_hz = _read(tmp_path / "a")
    assert signal.dtype == np.int16 and rate_hz == 100
    np.testing.assert_array_equal(signal, stored)


def test_leads_are_found_by_name_among_other_signals(tmp_path):
    names = ["V6", "resp", "v5", "V4", "V3", "V2", "V1", "aVF", "AVL", "avr", "III", "II", "I"]
    stored = tiny_ptb_xl.write_record(tmp_path / "a", sig_name=names)
    signal, _ = _read(tmp_path / "a")
    np.testing.assert_array_equal(signal, stored[:, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0]])


def test_gain_baseline_and_units_of_each_signal(tmp_path):
    units = ["mV", "uV", "V"] * 4
    gain = [200.0, 0.5, 4e5, 1000.0, 3.0, 1.5e6, 333.3, 1.0, 1e6, 2000.0, 0.7, 7e5]
    baseline = [0, 10, -500, 1024, 0, 3, -7, 0, 0, 12, 1, -1]
    tiny_ptb_xl.write_record(tmp_path / "a", units=units, adc_gain=gain, baseline=baseline)
    signal, _ = _read(tmp_path / "a")
    # 0.51: half a microvolt of rounding, and the digits of the gain in the header.
    np.testing.assert_allclose(signal, _physical_uv(tmp_path / "a"), atol=0.51)
    np.testing.assert_array_equal(signal, np.rint(signal))


def test_missing_samples_stay_missing_when_scaled(tmp_path):
    stored = np.random.default_rng(0).integers(-1500, 1500, (100, 12))
    stored[10:20, 2] = MISSING
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored, adc_gain=[500.0] * 12)
    signal, _ = _read(tmp_path / "a")
    np.testing.assert_array_equal(signal == MISSING, stored == MISSING)
    np.testing.assert_array_equal(np.isnan(_physical_uv(tmp_path / "a")), stored == MISSING)


def test_two_signal_files_and_a_byte_offset(tmp_path):
    stored = tiny_ptb_xl.write_record(tmp_path / "a")
    header = (tmp_path / "a.hea").read_text()
    lines = [
        line.replace("a.dat 16", "b.dat 16+24" if number > 6 else "a.dat 16")
        for number, line in enumerate(header.splitlines())
    ]
    (tmp_path / "a.hea").write_text("# a comment first\n" + "\n".join(lines) + "\n")
    (tmp_path / "a.dat").write_bytes(stored[:, :6].astype("<i2").tobytes())
    (tmp_path / "b.dat").write_bytes(bytes(24) + stored[:, 6:].astype("<i2").tobytes())
    np.testing.assert_array_equal(_read(tmp_path / "a")[0], stored)


def test_a_header_without_baseline_uses_the_adc_zero(tmp_path):
    stored = tiny_ptb_xl.write_record(tmp_path / "a")
    text = (tmp_path / "a.hea").read_text()
    (tmp_path / "a.hea").write_text(re.sub(r"1000\.0\(0\)/mV 16 0", "1000/mV 16 50", text))
    np.testing.assert_array_equal(_read(tmp_path / "a")[0], stored - 50)


EIGHT = ["I", "II", *(f"V{number}" for number in range(1, 7))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", ["16", "80", "212", "24", "32", "508", "516", "524"])
def test_every_format_against_wfdb(tmp_path, form, seed):
    rng = np.random.default_rng(seed)
    bits = {"80": 8, "212": 12, "508": 8, "24": 24, "524": 24, "32": 32}.get(form, 16)
    # An odd number of samples in all, so that the last one of 12 bits is not part of a pair.
    names = [*tiny_ptb_xl.NAMES, "resp"] if form in ("16", "80", "212", "24", "32") else EIGHT
    shape = (int(rng.integers(1, 400)) * 2 + 1, len(names))
    stored = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape)
    stored[rng.random(shape) < 0.01] = -(2 ** (bits - 1))  # missing
    counts_per_mv = 2.0 ** (bits - 1) / 20
    gain = [float(gain) for gain in rng.choice([1, 1.5, 3], len(names)) * counts_per_mv]
    baseline = [int(base) for base in rng.integers(-9, 9, len(names))]
    settings = {"fmt": [form] * len(names), "units": ["mV"] * len(names), "sig_name": names}
    tiny_ptb_xl.write_record(
        tmp_path / "a", d_signal=stored, adc_gain=gain, baseline=baseline, **settings
    )
    signal, rate_hz = _read(tmp_path / "a")
    oracle = tiny_ptb_xl.read_by_wfdb(tmp_path / "a", physical=True)
    for name, expected_mv in zip(oracle.sig_name, oracle.p_signal.T, strict=True):
        if name != "resp":
            lead = [lead.casefold() for lead in LEADS].index(name.casefold())
            value_uv = np.where(signal[:, lead] == MISSING, np.nan, signal[:, lead].astype(float))
            np.testing.assert_allclose(value_uv, expected_mv * 1000, atol=0.51)
    assert rate_hz == 100 and signal.shape == (len(stored), 12)


def test_absent_limb_leads_are_calculated_from_one_and_two(tmp_path):
    stored = np.random.default_rng(0).integers(-900, 900, (500, 8))
    stored[[3, 4, 5], [0, 1, 2]] = MISSING
    settings = {
        "fmt": ["16"] * 8,
        "units": ["mV"] * 8,
        "adc_gain": [1000.0] * 8,
        "baseline": [0] * 8,
    }
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored, sig_name=EIGHT, **settings)
    signal, _ = _read(tmp_path / "a")
    one = stored[:, 0]
    two = stored[:, 1]
    for lead, expected in {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }.items():
        values = signal[:, LEADS.index(lead)].astype(float)
        assert (values[[3, 4]] == MISSING).all() and values[5] != MISSING
        np.testing.assert_allclose(np.delete(values, [3, 4]), np.delete(expected, [3, 4]), atol=0.5)
    np.testing.assert_array_equal(signal[:, [0, 1, 6, 7, 8, 9, 10, 11]], stored)


def _write_matlab(record, stored: np.ndarray, *, rows: int | None = None, kind: int = 30) -> None:
    """Writes a MATLAB 4 file with a matrix `val`, one row per signal, as in CinC 2020 and 2021."""
    tiny_ptb_xl.write_record(record, d_signal=stored)
    header = record.with_suffix(".hea")
    header.write_text(header.read_text().replace("a.dat 16 ", "a.mat 16+24 "))
    start = np.array([kind, rows or stored.shape[1], len(stored), 0, 4], "<i4").tobytes() + b"val\0"
    record.with_suffix(".mat").write_bytes(start + stored.astype("<i2").tobytes())


def test_matlab_files_are_read_if_their_preamble_is_right(tmp_path):
    stored = np.random.default_rng(0).integers(-900, 900, (500, 12))
    _write_matlab(tmp_path / "a", stored)
    np.testing.assert_array_equal(_read(tmp_path / "a")[0], stored)
    for wrong in ({"rows": 11}, {"kind": 0}, {"kind": 1030}):  # doubles; big-endian
        _write_matlab(tmp_path / "a", stored, **wrong)
        with pytest.raises(RecordingError, match="does not begin as a MATLAB 4 file"):
            _read(tmp_path / "a")


def test_a_flac_file_that_contradicts_its_header_is_rejected(tmp_path):
    stored = np.random.default_rng(0).integers(-900, 900, (4000, 8))
    settings = {
        "fmt": ["516"] * 8,
        "units": ["mV"] * 8,
        "adc_gain": [1000.0] * 8,
        "baseline": [0] * 8,
    }
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored, sig_name=EIGHT, **settings)
    data = (tmp_path / "a.dat").read_bytes()
    header = (tmp_path / "a.hea").read_text()
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 255
    for content, reasons in (
        (data[:-3000], ("format", "length")),
        (b"", ("format",)),
        (bytes(damaged), ()),
    ):
        (tmp_path / "a.dat").write_bytes(content)
        with pytest.raises(RecordingError) as caught:
            _read(tmp_path / "a")
        assert caught.value.reason in (reasons or ("format", "length", "checksum"))
    (tmp_path / "a.dat").write_bytes(data)
    (tmp_path / "a.hea").write_text(header.replace("a.dat 516 ", "a.dat 524 "))
    with pytest.raises(RecordingError, match="PCM_16, not 4000 samples of 8 signals with 24 bits"):
        _read(tmp_path / "a")


def test_checksums_of_the_c_library_are_accepted(tmp_path):
    """It counts a missing sample as -32768 in any format, and writes that as initial value."""
    stored = np.random.default_rng(0).integers(-900, 900, (500, 12))
    stored[[0, 7], [0, 3]] = -2048
    tiny_ptb_xl.write_record(tmp_path / "a", d_signal=stored, fmt=["212"] * 12)
    header = tmp_path / "a.hea"
    lines = header.read_text().splitlines()
    for column in (0, 3):
        fields = lines[1 + column].split()
        as_c = np.where(stored[:, column] == -2048, -32768, stored[:, column])
        fields[5:7] = [str(as_c[0]), str(as_c.sum() % 65536)]
        lines[1 + column] = " ".join(fields)
    header.write_text("\n".join(lines))
    signal, _ = _read(tmp_path / "a")
    assert signal[0, 0] == signal[7, 3] == MISSING and (signal == MISSING).sum() == 2


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (r"\A.*\n", "", "header"),
        (r"a 12 100", "a 12 0", "header"),
        (r"a 12 100", "a 12 -100", "header"),
        (r"a 12 100", "a 12 nan", "header"),
        (r"a 12 100", "a 12 1e999", "header"),
        (r"a 12 100 1000", "a 12 100 999999999999999", "header"),
        (r"a 12 100", "a 513 100", "header"),
        (r"a 12 100", "a 0 100", "header"),
        (r"a 12 100", "a 13 100", "header"),
        (r"a 12 100", "a/3 12 100", "header"),
        (r"a 12 100 1000", "a 12 100 1001", "length"),
        (r"a 12 100 1000", "a 12 100 999", "length"),
        (r"a\.dat 16 ", "a.dat 8 ", "format"),
        (r"a\.dat 16 ", "a.dat 61 ", "header"),
        (r"a\.dat 16 ", "a.dat 516 ", "header"),
        (r"a\.dat 16 ", "a.dat 16+2 ", "header"),
        (r"a\.dat 16 ", "a.dat sixteen ", "header"),
        (r"a\.dat 16 ", "a.dat 16x2 ", "format"),
        (r"1000\.0\(0\)/mV", "0(0)/mV", "units"),
        (r"1000\.0\(0\)/mV", "inf(0)/mV", "header"),
        (r"1000\.0\(0\)/mV", "many(0)/mV", "header"),
        (r"1000\.0\(0\)/mV", "1_000(0)/mV", "header"),
        (r"1000\.0\(0\)/mV", "1000(0)/mmHg", "units"),
        (r"1000\.0\(0\)/mV", "10(0)/mV", "range"),
        (r"a\.dat 16 1000.* V3$", "a.dat 16", "leads"),
        (r" V3$", " X", "leads"),
        (r" AVR$", " II", "leads"),
        (r"a\.dat", "../a.dat", "file_name"),
        (r"a\.dat", "/etc/passwd", "file_name"),
        (r"a\.dat", "..", "file_name"),
        (r"a\.dat", "other.dat", "missing_file"),
    ],
)
def test_a_damaged_header_is_an_error_that_names_the_file(tmp_path, pattern, replacement, reason):
    tiny_ptb_xl.write_record(tmp_path / "a")
    _edit(tmp_path / "a.hea", pattern, replacement)
    with pytest.raises(RecordingError) as caught:
        _read(tmp_path / "a")
    assert caught.value.reason == reason
    message = str(caught.value)
    assert isinstance(caught.value, InputError) and "\n" not in message
    assert message.startswith(str(tmp_path)) and ";" in message


def test_damaged_samples_are_rejected(tmp_path):
    tiny_ptb_xl.write_record(tmp_path / "a")
    data = bytearray((tmp_path / "a.dat").read_bytes())
    for position, reason in ((5000, "checksum"), (0, "checksum")):
        flipped = bytearray(data)
        flipped[position] ^= 1
        (tmp_path / "a.dat").write_bytes(flipped)
        with pytest.raises(RecordingError) as caught:
            _read(tmp_path / "a")
        assert caught.value.reason == reason
    swapped = data[24:48] + data[:24] + data[48:]  # the same sums, another first frame
    (tmp_path / "a.dat").write_bytes(swapped)
    with pytest.raises(RecordingError, match="starts with"):
        _read(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 1, 23_998, 23_999, 24_002])
def test_a_file_of_another_length_is_an_error_with_both_numbers(tmp_path, size):
    tiny_ptb_xl.write_record(tmp_path / "a")
    data = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes((data + bytes(8))[:size])
    with pytest.raises(RecordingError, match=f"a.dat: {size} bytes, but 24000"):
        _read(tmp_path / "a")


def test_links_may_not_leave_the_folder(tmp_path):
    tiny_ptb_xl.write_record(tmp_path / "in" / "a")
    tiny_ptb_xl.write_record(tmp_path / "out" / "a")
    signal_file = tmp_path / "in" / "a.dat"
    signal_file.unlink()
    signal_file.symlink_to(tmp_path / "out" / "a.dat")
    with pytest.raises(RecordingError, match="link"):
        _read(tmp_path / "in" / "a")


def test_a_header_that_is_absent_or_no_text_is_rejected(tmp_path):
    for content in (b"", b"\n\n", b"# only a comment\n", bytes(range(256)), b"\xff" * 2_000_000):
        (tmp_path / "a.hea").write_bytes(content)
        with pytest.raises(RecordingError, match="a.hea"):
            _read(tmp_path / "a")
    with pytest.raises(RecordingError) as caught:
        _read(tmp_path / "absent")
    assert caught.value.reason == "missing_file"
