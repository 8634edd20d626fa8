"""EDF, EDF+, BDF and BDF+ files, with gaps, odd channels and all forms of patients and dates."""

import datetime
from pathlib import Path

import numpy as np
import pytest
from helpers import edf

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor_edf
from tfds_builders.formats.vendor_content import Content, Refused, leads_uv
from tfds_builders.recording.leads import TWELVE, LeadRule


def _read(path: Path, rule: LeadRule = TWELVE) -> Content:
    return vendor_edf.read(path, rule)


def _value_uv(content: Content, number: int = 0) -> np.ndarray:
    return leads_uv(content.rhythms[number].channels, TWELVE)[1]


@pytest.mark.parametrize(
    ("bits", "kind", "gain"),
    [(16, "", 0.25), (16, "EDF+C", 0.25), (24, "", 1.0), (24, "BDF+C", 1.0)],
)
def test_samples_are_those_of_the_file(tmp_path, bits, kind, gain):
    stored = edf.write(tmp_path / "a", bits=bits, kind=kind)
    stored[0, 0, :2] = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    (tmp_path / "a").write_bytes(edf.Edf(bits=bits, kind=kind, gain=gain).content(stored))
    content = _read(tmp_path / "a")
    (rhythm,) = content.rhythms
    assert {channel.rate_hz for channel in rhythm.channels} == {500}
    expected_uv = gain * stored.transpose(0, 2, 1).reshape(-1, 12)
    np.testing.assert_allclose(_value_uv(content), expected_uv, atol=1e-6)
    assert rhythm.time == datetime.datetime(2021, 3, 4, 10)


def test_ecgdatakit_reads_the_same(tmp_path):
    parser = pytest.importorskip("ecgdatakit.parsing.parsers.edf").EDFParser()
    edf.write(tmp_path / "a.edf", kind="EDF+C", gain=0.1)
    expected = [lead.to_physical().samples for lead in parser.parse(tmp_path / "a.edf").leads]
    np.testing.assert_allclose(_value_uv(_read(tmp_path / "a.edf")), np.stack(expected, 1))


@pytest.mark.parametrize(("kind", "bits"), [("EDF+D", 16), ("BDF+D", 24), ("EDF+C", 16)])
@pytest.mark.parametrize("gap_s", [0.5, 5, 50])
def test_a_gap_becomes_missing_samples(tmp_path, kind, bits, gap_s):
    onsets_s = (0, 1, 2, 3 + gap_s, 4 + gap_s)
    stored = edf.write(tmp_path / "a", records=5, kind=kind, bits=bits, onsets_s=onsets_s)
    (value_uv,) = [_value_uv(_read(tmp_path / "a"))]
    gap = slice(1500, 1500 + int(500 * gap_s))
    assert len(value_uv) == 2500 + 500 * gap_s
    assert np.isnan(value_uv[gap]).all()
    expected_uv = stored.transpose(0, 2, 1).reshape(-1, 12)
    np.testing.assert_allclose(np.delete(value_uv, gap, axis=0), expected_uv, atol=1e-6)


def test_a_long_interruption_begins_another_recording_with_its_own_time(tmp_path):
    onsets_s = (0.5, 1.5, 3601.5, 3602.5, 3603.5)
    stored = edf.write(tmp_path / "a", records=5, kind="EDF+D", onsets_s=onsets_s)
    content = _read(tmp_path / "a")
    assert [len(_value_uv(content, number)) for number in range(2)] == [1000, 1500]
    assert (_value_uv(content, 1)[:500, 0] == stored[2, 0]).all()
    start = datetime.datetime(2021, 3, 4, 10)
    times = [rhythm.time and (rhythm.time - start).total_seconds() for rhythm in content.rhythms]
    assert times == [0.5, 3601.5]


@pytest.mark.parametrize("jitter_s", [0.0009, -0.0009])
def test_records_that_begin_less_than_a_sample_late_follow_without_a_gap(tmp_path, jitter_s):
    onsets_s = tuple(index * (1 + jitter_s) for index in range(10))
    edf.write(tmp_path / "a", kind="EDF+D", onsets_s=onsets_s)
    value_uv = _value_uv(_read(tmp_path / "a"))
    assert value_uv.shape == (5000, 12) and not np.isnan(value_uv).any()


def test_records_that_overlap_are_refused(tmp_path):
    edf.write(tmp_path / "a", records=3, kind="EDF+D", onsets_s=(0, 1, 1.5))
    with pytest.raises(Refused, match="overlap"):
        _read(tmp_path / "a")


def test_an_interrupted_file_without_times_is_refused(tmp_path):
    edf.write(tmp_path / "a", kind="EDF+D")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data.replace(b"+3\x14", b"\0\0\0"))
    with pytest.raises(Refused, match="states no time"):
        _read(tmp_path / "a")


@pytest.mark.parametrize("records", [9, 12])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path, records):
    edf.write(tmp_path / "a", records=records if records < 10 else 10)
    content = edf.Edf(records=10 if records < 10 else records).content(np.zeros((9, 12, 500), int))
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(Refused) as caught:
        _read(tmp_path / "a")
    assert caught.value.args[0] == "length"


def test_a_file_that_was_not_closed_and_one_with_bytes_at_the_end_have_a_note(tmp_path):
    edf.write(tmp_path / "a", records=10)
    assert not _read(tmp_path / "a").notes
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes() + b"\x1a")
    assert "bytes after" in _read(tmp_path / "b").notes[0]
    (tmp_path / "c").write_bytes(edf.Edf(records=-1).content(np.zeros((4, 12, 500), int)))
    content = _read(tmp_path / "c")
    assert "not close" in content.notes[0] and len(_value_uv(content)) == 2000


def test_channels_that_are_no_leads_do_not_matter(tmp_path):
    labels = (*(f"ECG {lead}" for lead in LEADS), "Resp", "SpO2", "Status")
    units = ("uV",) * 12 + ("NU", "%", "")
    stored = edf.write(tmp_path / "a", labels=labels, units=units)
    data = bytearray((tmp_path / "a").read_bytes())
    ranges = 256 + len(labels) * (16 + 80 + 8) + 12 * 8  # the physical minimum of Resp
    data[ranges : ranges + 8] = b"n/a     "
    (tmp_path / "a").write_bytes(data)
    value_uv = _value_uv(_read(tmp_path / "a"))
    np.testing.assert_allclose(value_uv[:, 11], stored[:, 11].ravel(), atol=1e-6)


def test_a_channel_of_another_name_is_read_with_the_users_mapping(tmp_path):
    labels = (*(f"ECG {lead}" for lead in LEADS[:-1]), "Brust 6")
    edf.write(tmp_path / "a", labels=labels)
    rule = LeadRule(names=(("Brust 6", "V6"),))
    positions, value_uv = leads_uv(_read(tmp_path / "a", rule).rhythms[0].channels, rule)
    assert positions == [*range(12)] and value_uv.shape == (5000, 12)


@pytest.mark.parametrize("unit", ["", "mmHg", "NU"])
def test_a_lead_without_voltage_is_refused(tmp_path, unit):
    edf.write(tmp_path / "a", units=unit)
    with pytest.raises(Refused) as caught:
        _value_uv(_read(tmp_path / "a"))
    assert caught.value.args[0] == "units"


def test_a_lead_that_occurs_twice_is_refused(tmp_path):
    labels = (*(f"ECG {lead}" for lead in LEADS), "V5")
    edf.write(tmp_path / "a", labels=labels)
    with pytest.raises(Refused, match="both mean lead V5"):
        _value_uv(_read(tmp_path / "a"))


@pytest.mark.parametrize(
    ("patient", "kind", "expected"),
    [
        ("MCH-0234567 F 02-MAY-1951 Haagse_Harry", "EDF+C", ("MCH-0234567", "female", 69)),
        ("MCH-0234567 M 02-MAR-1951 Haagse_Harry", "", ("MCH-0234567", "male", 70)),
        ("X F 02-MAY-1951 Haagse_Harry", "EDF+C", ("", "female", 69)),
        ("X X X X", "", ("", None, None)),
        ("X X X X", "EDF+C", ("", None, None)),
        ("P1", "", ("P1", None, None)),
        ("P1", "EDF+C", ("P1", None, None)),
        ("Harry Haagse", "", ("Harry Haagse", None, None)),
        ("P1 M 02-MAY-2051 X", "EDF+C", ("P1", "male", None)),
        ("P1 M 02-MAY-1850 X", "EDF+C", ("P1", "male", None)),
        ("", "", ("", None, None)),
    ],
)
def test_the_patient_is_the_code(tmp_path, patient, kind, expected):
    edf.write(tmp_path / "a", records=1, kind=kind, patient=patient)
    facts = _read(tmp_path / "a").facts()
    assert (facts["patient"], facts["sex"], facts["age"]) == expected


@pytest.mark.parametrize(
    ("date", "recording", "year"),
    [
        ("04.03.21", "", 2021),
        ("04.03.99", "", 1999),
        ("04.03.yy", "Startdate 04-MAR-2085 X X X", 2085),
        ("01.01.85", "Startdate X X X X", None),
        ("00.00.00", "", None),
        ("", "", None),
    ],
)
def test_a_date_may_be_unknown(tmp_path, date, recording, year):
    edf.write(tmp_path / "a", records=1, date=date, recording=recording)
    time = _read(tmp_path / "a").time
    assert (time and time.year) == year
