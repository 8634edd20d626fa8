"""Vendor files with several recordings: GE MUSE, Philips, HL7 aECG and DICOM."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import muse

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor
from tfds_builders.formats.vendor_content import DERIVED
from tfds_builders.recording.leads import LeadRule

pytest.importorskip("ecgdatakit")


@pytest.fixture(autouse=True, scope="module")
def sandbox():
    with vendor.Sandbox() as box:
        yield box


def test_each_rhythm_of_a_muse_file_is_a_recording_with_its_own_time(tmp_path, sandbox):
    kinds = ("Median", "Rhythm", "Rhythm", "RHYTHM")
    stored = muse.write(tmp_path / "a", kinds=kinds, starts_s=(0, 0, 10, 20.5), samples=1000)
    content = sandbox.read(tmp_path / "a")
    assert len(content.recordings) == 3 and content.patient == "MRN0042"
    for recording, expected in zip(content.recordings, stored[1:], strict=True):
        signal = recording.stored.signal[:, [LEADS.index(lead) for lead in muse.EIGHT]]
        np.testing.assert_array_equal(signal, np.rint(expected * muse.UV_PER_LSB))
    start = datetime.datetime(2021, 3, 4, 5, 6, 7)
    times = [(recording.time - start).total_seconds() for recording in content.recordings]
    assert times == [0, 10, 20.5]
    assert content.notes == (DERIVED,)


@pytest.mark.parametrize(
    ("rate_hz", "exponent", "expected_hz"), [(9765625, -4, 976.5625), (25, 1, 250)]
)
def test_a_rate_is_not_rounded(tmp_path, sandbox, rate_hz, exponent, expected_hz):
    muse.write(tmp_path / "a", rate_hz=rate_hz, exponent=exponent, samples=100)
    assert sandbox.read(tmp_path / "a").recordings[0].rate_hz == pytest.approx(expected_hz)


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ({"PatientAge": "63", "AgeUnits": "YEARS"}, 63),
        ({"PatientAge": "18", "AgeUnits": "MONTHS"}, 1.5),
        ({"PatientAge": "90+", "AgeUnits": "YEARS"}, 90),
        ({"PatientAge": "-1", "AgeUnits": "YEARS", "DateofBirth": ""}, None),
        ({"PatientAge": "200", "AgeUnits": "YEARS", "DateofBirth": ""}, None),
        ({"PatientAge": "999", "AgeUnits": "YEARS"}, 90),  # from the date of birth, March 1931
        ({"PatientAge": "nan", "AgeUnits": "YEARS", "DateofBirth": ""}, None),
        ({"PatientAge": "63", "AgeUnits": "", "DateofBirth": ""}, None),
        ({"PatientAge": "", "AgeUnits": "", "DateofBirth": "03-05-1931"}, 89),
        ({"PatientAge": "", "AgeUnits": "", "DateofBirth": "03-05-1831"}, None),
        ({"PatientAge": "", "AgeUnits": "", "DateofBirth": "03-05-2031"}, None),
    ],
)
def test_an_impossible_age_is_unknown(tmp_path, sandbox, person, expected):
    muse.write(tmp_path / "a", person=muse.PERSON | person, samples=10)
    age = sandbox.read(tmp_path / "a").age
    assert age == expected


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"person": {"PatientAge": "200", "AgeUnits": "YEARS"}}, "ages outside 0 to 120"),
        ({"person": {"DateofBirth": "03-05-2031"}}, "ages outside 0 to 120"),
        ({"date": "01-01-1901"}, "dates before 1930"),
        ({"person": {"PatientAge": "999", "AgeUnits": "YEARS", "DateofBirth": "03-05-1931"}}, ""),
        ({"person": {}, "date": ""}, ""),
    ],
)
def test_what_cannot_be_true_is_noted(tmp_path, sandbox, changes, note):
    muse.write(tmp_path / "a", samples=10, **changes)
    notes = sandbox.read(tmp_path / "a").notes
    assert [text[: len(note)] for text in notes] == [note] * bool(note)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("M", "male"), ("Weiblich", "female"), ("Homme", "male"), ("UNKNOWN", None), ("7", None)],
)
def test_words_for_a_sex(tmp_path, sandbox, word, expected):
    muse.write(tmp_path / "a", person=muse.PERSON | {"Gender": word}, samples=10)
    assert sandbox.read(tmp_path / "a").sex == expected


@pytest.mark.parametrize("date", ["01-01-0001", "01-01-1900", "01-01-2999", "13-45-2020", ""])
def test_an_impossible_date_is_unknown(tmp_path, sandbox, date):
    muse.write(tmp_path / "a", date=date, samples=10)
    assert sandbox.read(tmp_path / "a").recordings[0].time is None


def _dicom(path: Path, groups: list[dict[str, Any]], **elements) -> list[np.ndarray]:
    """Writes a DICOM file with these multiplex groups and returns their samples."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = Dataset()
    data.file_meta = meta
    data.PatientID = "P1"
    data.AcquisitionDateTime = "20210304101112"
    for name, value in elements.items():
        setattr(data, name, value)
    stored = []
    items = []
    for index, group in enumerate(groups):
        leads = _leads(group)
        shape = (group.get("samples", 1000), len(leads))
        values = np.random.default_rng(index).integers(-900, 900, shape).astype("<i2")
        stored.append(values)
        item = Dataset()
        item.MultiplexGroupLabel = group.get("label", "RHYTHM")
        item.WaveformOriginality = group.get("originality", "ORIGINAL")
        if "offset_ms" in group:
            item.MultiplexGroupTimeOffset = group["offset_ms"]
        item.NumberOfWaveformChannels = len(leads)
        item.NumberOfWaveformSamples = len(values)
        item.SamplingFrequency = group.get("rate_hz", 500)
        item.WaveformBitsAllocated = 16
        item.WaveformSampleInterpretation = "SS"
        item.ChannelDefinitionSequence = Sequence([_channel(lead) for lead in leads])
        item.WaveformData = values.tobytes()
        items.append(item)
    data.WaveformSequence = Sequence(items)
    data.save_as(path, enforce_file_format=True)
    return stored


def _leads(group: dict[str, Any]) -> tuple[str, ...]:
    return group.get("leads", LEADS)


def _channel(lead: str):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    source = Dataset()
    source.CodeValue = "1"
    source.CodingSchemeDesignator = "X"
    source.CodeMeaning = f"Lead {lead}"
    unit = Dataset()
    unit.CodeValue = "uV"
    unit.CodingSchemeDesignator = "UCUM"
    unit.CodeMeaning = "microvolt"
    channel = Dataset()
    channel.ChannelSourceSequence = Sequence([source])
    channel.ChannelSensitivity = "2"
    channel.ChannelSensitivityUnitsSequence = Sequence([unit])
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline = "0"
    channel.WaveformBitsStored = 16
    return channel


STRIP = {"leads": ("II",)}
LIMB = {"leads": LEADS[:6]}
CHEST = {"leads": LEADS[6:]}
GROUPS = {
    "strip first": ([STRIP, {}], [[1]]),
    "strip last": ([{}, STRIP], [[0]]),
    "median first": ([{"label": "MEDIAN BEAT", "samples": 600}, {}], [[1]]),
    "derived": ([{"originality": "DERIVED"}, {}], [[1]]),
    "derived alone": ([{"originality": "DERIVED"}], [[0]]),
    "two": ([{"offset_ms": 10_000}, {"offset_ms": 0}], [[1], [0]]),
    "halves": ([STRIP, LIMB, CHEST], [[1, 2]]),
    "halves, chest first": ([CHEST, STRIP, LIMB], [[0, 2]]),
    "halves twice": ([LIMB, LIMB, CHEST, CHEST], [[0, 2], [1, 3]]),
    "other length": ([{**LIMB, "samples": 900}, {}], [[1]]),
}


@pytest.mark.parametrize("case", GROUPS)
def test_dicom_groups_with_most_leads_are_the_recordings(tmp_path, sandbox, case):
    groups, expected = GROUPS[case]
    stored = _dicom(tmp_path / "a", groups)
    content = sandbox.read(tmp_path / "a")
    assert len(content.recordings) == len(expected)
    for recording, numbers in zip(content.recordings, expected, strict=True):
        by_lead = {
            lead: 2 * column
            for number in numbers
            for lead, column in zip(_leads(groups[number]), stored[number].T, strict=True)
        }
        signal = recording.to_stored(tmp_path, 500).signal
        for lead, value_uv in by_lead.items():
            np.testing.assert_array_equal(signal[:, LEADS.index(lead)], value_uv)
    if case == "two":
        first, second = (recording.time for recording in content.recordings)
        assert second - first == datetime.timedelta(seconds=10)


def test_halves_of_another_time_are_not_joined(tmp_path, sandbox):
    _dicom(tmp_path / "a", [LIMB, {**CHEST, "offset_ms": 2500}])
    for recording in sandbox.read(tmp_path / "a").recordings:
        assert recording.problem and "lacks lead" in recording.problem[1]


def test_a_strip_is_the_recording_if_it_holds_all_leads_of_the_data_set(tmp_path):
    _dicom(tmp_path / "a", [STRIP])
    rule = LeadRule(kept=("II",))
    with vendor.Sandbox(rule) as box:
        (recording,) = box.read(tmp_path / "a").recordings
    assert recording.to_stored(tmp_path, 500).signal.shape == (1000, 12)


def test_a_rate_of_dicom_is_not_rounded(tmp_path, sandbox):
    _dicom(tmp_path / "a", [{"rate_hz": "976.5625"}])
    assert sandbox.read(tmp_path / "a").recordings[0].rate_hz == 976.5625


@pytest.mark.parametrize("date", ["00010101", "19000101", "21990101", "19700101"])
def test_an_impossible_date_of_dicom_is_unknown(tmp_path, sandbox, date):
    _dicom(tmp_path / "a", [{}], AcquisitionDateTime=f"{date}101112", PatientBirthDate="19500101")
    content = sandbox.read(tmp_path / "a")
    assert content.recordings[0].time is None and content.age is None


def _aecg(path: Path, series: list[list[tuple[str, str]]]) -> None:
    """Writes an HL7 aECG file: for each series its sequence sets, as (kind of time, head)."""
    sequences = "".join(
        f'<component><sequence><code code="MDC_ECG_LEAD_{lead}"/><value>'
        f'<origin value="0" unit="uV"/><scale value="5" unit="uV"/>'
        f"<digits>{' '.join(map(str, range(number, number + 100)))}</digits></value>"
        "</sequence></component>"
        for number, lead in enumerate(LEADS)
    )
    text = ""
    for sets in series:
        code = "REPRESENTATIVE_BEAT" if not sets[0][0] else "RHYTHM"
        text += f'<component><series><code code="{code}"/>'
        text += '<effectiveTime><low value="20210304101112"/></effectiveTime>'
        for kind, head in sets:
            time = f'<head value="{head}" unit="s"/><increment value="0.002" unit="s"/>'
            text += "<component><sequenceSet><component><sequence>"
            text += f'<code code="{kind or "TIME_RELATIVE"}"/><value>{time}</value>'
            text += f"</sequence></component>{sequences}</sequenceSet></component>"
        text += "</series></component>"
    path.write_text(f'<AnnotatedECG xmlns="urn:hl7-org:v3">{text}</AnnotatedECG>')


def test_each_series_and_sequence_set_of_aecg_is_a_recording(tmp_path, sandbox):
    absolute = ("TIME_ABSOLUTE", "20210304120000")
    series = [[("", "0")], [("TIME_RELATIVE", "0"), ("TIME_RELATIVE", "30")], [absolute]]
    _aecg(tmp_path / "a.xml", series)
    content = sandbox.read(tmp_path / "a.xml")
    start = datetime.datetime(2021, 3, 4, 10, 11, 12)
    times = [start, start + datetime.timedelta(seconds=30), datetime.datetime(2021, 3, 4, 12)]
    assert [recording.time for recording in content.recordings] == times
    for recording in content.recordings:
        assert recording.rate_hz == 500 and recording.stored.signal.shape == (100, 12)
        assert recording.stored.signal[0, 11] == 5 * LEADS.index("V6")
    assert len(content.notes) == 1


def test_each_rhythm_of_a_philips_file_is_a_recording(tmp_path, sandbox):
    leads = " ".join(LEADS)
    rhythms = ""
    for start in (0, 100):
        samples = " ".join(str(start + value) for value in range(12 * 50))
        rhythms += f'<parsedwaveforms dataencoding="Plain" leadlabels="{leads}" resolution="5"'
        rhythms += f' samplespersecond="500" durationperchannel="100">{samples}</parsedwaveforms>'
    about = "<documentinfo><documenttype>SierraECG</documenttype>"
    about += "<documentversion>1.03</documentversion></documentinfo>"
    text = f"<restingecgdata>{about}<waveforms>{rhythms}</waveforms></restingecgdata>"
    (tmp_path / "a.xml").write_text(text)
    first, second = sandbox.read(tmp_path / "a.xml").recordings
    assert first.stored.signal[0, 0] == 0
    assert (second.stored.signal - first.stored.signal == 500).all()
