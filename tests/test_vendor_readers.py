"""Formats by their first bytes, readers of rarer formats, and the warnings of readers."""

import binascii
import json
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import edf, muse

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor, vendor_readers
from tfds_builders.formats.vendor_content import Content, Refused, leads_uv
from tfds_builders.recording.leads import TWELVE, LeadRule

pytest.importorskip("ecgdatakit")
CODES = {"I": 1, "II": 2, **{f"V{n}": n + 2 for n in range(1, 7)}}
CODES |= {"III": 61, "aVR": 62, "aVL": 63, "aVF": 64}
"""Codes of leads in SCP-ECG and MFER."""


def _read(path: Path) -> Content:
    return vendor_readers.read(path, TWELVE)


def _value_uv(content: Content) -> np.ndarray:
    (rhythm,) = content.rhythms
    return leads_uv(rhythm.channels, TWELVE)[1]


def _stored(samples: int = 600) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, (samples, 12)).astype("<i2")


def _ishne(
    stored: np.ndarray, *, offset: int = 522, crc_error: int = 0, tail: bytes = b""
) -> bytes:
    header = bytearray(522)
    struct.pack_into("<iiii", header, 10, 0, len(stored), 522, offset)
    header[108:112] = b"P042"
    struct.pack_into("<h", header, 128, 2)
    struct.pack_into("<6h", header, 132, 4, 3, 1950, 5, 3, 2021)
    struct.pack_into("<3h", header, 150, 10, 11, 12)
    struct.pack_into("<h12h", header, 156, 12, *range(5, 17))
    struct.pack_into("<12h", header, 206, *[2500] * 12)
    struct.pack_into("<h", header, 272, 200)
    header[:8] = b"ISHNE1.0"
    struct.pack_into("<H", header, 8, binascii.crc_hqx(bytes(header[10:]), 0xFFFF) ^ crc_error)
    return bytes(header) + stored.tobytes() + tail


def test_ishne(tmp_path):
    stored = _stored()
    stored[5, 3] = -32768
    (tmp_path / "a").write_bytes(_ishne(stored))
    content = _read(tmp_path / "a")
    expected_uv = np.where(stored == -32768, np.nan, stored * 2.5)
    np.testing.assert_allclose(_value_uv(content), expected_uv)
    facts = content.facts()
    assert (facts["patient"], facts["sex"], facts["age"]) == ("P042", "female", 71)
    assert content.rhythms[0].channels[0].rate_hz == 200


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"offset": 530}, "warned"), ({"tail": b"\1\0"}, "warned"), ({"crc_error": 1}, "checksum")],
)
def test_a_warning_about_samples_is_a_rejection(tmp_path, changes, reason):
    (tmp_path / "a").write_bytes(_ishne(_stored(), **changes))
    with pytest.raises(Refused) as caught:
        _read(tmp_path / "a")
    assert caught.value.args[0] == reason and "ISHNE" in caught.value.args[1]


def _kardia(leads: dict[str, list], **changes) -> bytes:
    block = {"samples": leads, "frequency": 300, "mainsFrequency": 50, "amplitudeResolution": 500}
    document = {"patientID": "P7", "recordedAt": "2021-03-04T10:11:12Z", "data": {"raw": block}}
    document["data"]["enhanced"] = block
    return json.dumps({**document, **changes}).encode()


def test_a_kardia_file_of_one_lead_needs_a_data_set_of_that_lead(tmp_path):
    (tmp_path / "a.json").write_bytes(_kardia({"leadI": [0, 2, None, 4] * 100}))
    for rule, message in ((TWELVE, "lacks lead II"), (LeadRule(kept=("I",)), "")):
        with vendor.Sandbox(rule) as box:
            (recording,) = box.read(tmp_path / "a.json").recordings
        if message:
            assert recording.problem and message in recording.problem[1]
        else:
            signal = recording.stored.signal
            assert signal[:4, 0].tolist() == [0, 1, -32768, 2] and (signal[:, 1:] == -32768).all()


def test_an_invalid_date_of_a_kardia_file_is_a_note(tmp_path):
    (tmp_path / "a.json").write_bytes(_kardia({"leadI": [0, 2]}, recordedAt="yesterday"))
    content = _read(tmp_path / "a.json")
    assert vendor_readers.METADATA in content.notes and content.time is None


def _element(tag: int, value: bytes) -> bytes:
    return bytes([tag, len(value)]) + value


def _mfer(stored: np.ndarray, *, frames: int = 1) -> bytes:
    samples = len(stored) // frames
    text = _element(0x40, b"MFR ECG") + _element(0x01, b"\1") + _element(0x82, b"P9")
    text += _element(0x84, b"\1") + _element(0x0B, struct.pack("<BbH", 1, -4, 20))
    text += _element(0x0C, struct.pack("<BbH", 0, -7, 25)) + _element(0x05, b"\x0c")
    for channel, lead in enumerate(LEADS):
        text += b"\x3f" + bytes([channel, 3]) + _element(0x09, bytes([CODES[lead]]))
    text += _element(0x0A, b"\0") + _element(0x04, b"\1")
    for frame in range(frames):
        part = stored[frame * samples : (frame + 1) * samples]
        text += _element(0x06, struct.pack("<I", samples))
        text += b"\x1e\x84" + struct.pack(">I", part.nbytes) + part.tobytes()
    return text + b"\x80\0"


@pytest.mark.parametrize("frames", [1, 3])
def test_mfer(tmp_path, frames):
    stored = _stored()
    (tmp_path / "a").write_bytes(_mfer(stored, frames=frames))
    content = _read(tmp_path / "a")
    np.testing.assert_allclose(_value_uv(content), stored * 2.5)
    assert content.rhythms[0].channels[0].rate_hz == pytest.approx(500)
    assert content.facts()["patient"] == "P9" and content.facts()["sex"] == "male"


def test_a_shortened_mfer_file_is_refused(tmp_path):
    stored = _stored()
    data = _mfer(stored).replace(struct.pack("<I", 600), struct.pack("<I", 700), 1)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(Refused, match="warned"):
        _read(tmp_path / "a")


def _scp(stored: np.ndarray, *, starts: dict[int, int] | None = None, crc_error: int = 0) -> bytes:
    starts = starts or {}
    leads = b"".join(
        struct.pack("<IIB", starts.get(n, 0) + 1, starts.get(n, 0) + len(stored), CODES[lead])
        for n, lead in enumerate(LEADS)
    )
    samples = stored.T.tobytes()
    sizes = struct.pack("<12H", *[2 * len(stored)] * 12)
    patient = b"\2\3\0P5\0" + b"\x08\1\0\2" + b"\xff\0\0"
    bodies = {1: patient, 3: b"\x0c\4" + leads}
    bodies[6] = struct.pack("<HHBB", 2500, 1024, 0, 0) + sizes + samples
    position = 6 + 16 + 40
    pointers = struct.pack("<HII", 0, position - 6, 7)
    sections = b""
    for number, body in bodies.items():
        body += b"\0" * (len(body) % 2)
        header = struct.pack("<HIBB6x", number, 16 + len(body), 20, 20)
        crc = binascii.crc_hqx(header + body, 0xFFFF)
        pointers += struct.pack("<HII", number, 16 + len(body), position + len(sections) + 1)
        sections += struct.pack("<H", crc) + header + body
    header = struct.pack("<HIBB6s", 0, position - 6, 20, 20, b"SCPECG") + pointers
    first = struct.pack("<H", binascii.crc_hqx(header, 0xFFFF)) + header
    record = struct.pack("<I", position + len(sections)) + first + sections
    return struct.pack("<H", binascii.crc_hqx(record, 0xFFFF) ^ crc_error) + record


def test_scp_with_an_exact_rate(tmp_path):
    stored = _stored()
    (tmp_path / "a").write_bytes(_scp(stored))
    content = _read(tmp_path / "a")
    np.testing.assert_allclose(_value_uv(content), stored * 2.5)
    assert content.rhythms[0].channels[0].rate_hz == 1e6 / 1024
    assert content.facts()["patient"] == "P5" and content.facts()["sex"] == "female"


def test_scp_leads_that_begin_later_have_missing_samples_in_front(tmp_path):
    stored = _stored()
    starts = dict.fromkeys(range(6, 12), 600)
    (tmp_path / "a").write_bytes(_scp(stored, starts=starts))
    value_uv = _value_uv(_read(tmp_path / "a"))
    assert value_uv.shape == (1200, 12)
    for lead in range(12):
        start = starts.get(lead, 0)
        np.testing.assert_allclose(value_uv[start : start + 600, lead], stored[:, lead] * 2.5)
        assert np.isnan(value_uv[:, lead]).sum() == 600


def test_a_damaged_scp_file_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(_scp(_stored(), crc_error=1))
    with pytest.raises(Refused, match="checksum"):
        _read(tmp_path / "a")


def test_mortara(tmp_path):
    stored = _stored(100)
    channels = "".join(
        f'<CHANNEL NAME="{lead}" SAMPLE_FREQ="976.5625" UNITS_PER_MV="400" BITS="16" '
        f'ENCODING="BASE64" FORMAT="SIGNED" '
        f'DATA="{binascii.b2a_base64(column.tobytes()).decode().strip()}"/>'
        for lead, column in zip(LEADS, stored.T, strict=True)
    )
    text = f'<ECG ACQUISITION_TIME_XML="2021-03-04T10:11:12"><SUBJECT ID="P3"/>{channels}</ECG>'
    (tmp_path / "a").write_text(text)
    content = _read(tmp_path / "a")
    np.testing.assert_allclose(_value_uv(content), stored * 2.5)
    assert content.rhythms[0].channels[0].rate_hz == 976.5625


STARTS = {
    b"<?xml version='1.0'?><!-- <AnnotatedECG> --><RestingECG>": "vendor_xml.read_muse",
    b"\xef\xbb\xbf<RestingECG>": "vendor_xml.read_muse",
    b"<RESTINGECG>": "vendor_xml.read_muse",
    "<?xml?><restingecgdata xmlns='x'>".encode("utf-16"): "vendor_xml.read_sierra",
    b"<hl7:AnnotatedECG>": "vendor_xml.read_aecg",
    b"\xffBIOSEMI": "vendor_edf.read",
    b'{"samples": [], "amplitudeResolution": 5': "vendor_readers.read_kardia",
}


@pytest.mark.parametrize("start", STARTS)
def test_formats_are_known_by_their_first_bytes(start):
    assert vendor_readers.find_reader(start) == STARTS[start]


@pytest.mark.parametrize("start", [b"", b"{}", b"<a>", b"PK\3\4", b"hello", bytes(99)])
def test_other_files_are_refused(start):
    with pytest.raises(Refused, match="none of GE MUSE"):
        vendor_readers.find_reader(start)


def test_the_baseline_that_muse_states_is_a_note(tmp_path):
    muse.write(tmp_path / "a", samples=100)
    text = (tmp_path / "a").read_text("latin-1")
    first = "<FirstSampleBaseline>"
    (tmp_path / "a").write_text(text.replace(f"{first}0", f"{first}12"), "latin-1")
    assert "baseline" in _read(tmp_path / "a").notes[0]
    offset = "<LeadOffsetFirstSample>"
    (tmp_path / "a").write_text(text.replace(f"{offset}0", f"{offset}12"), "latin-1")
    with pytest.raises(Refused, match="LeadOffsetFirstSample"):
        _read(tmp_path / "a")


def test_unknown_warnings_are_rejections_and_none_is_dropped(tmp_path, monkeypatch):
    edf.write(tmp_path / "a", records=1)
    content = _read(tmp_path / "a")

    def warn(path: Path, rule: LeadRule) -> Content:
        warnings.warn(message, stacklevel=1)
        return content

    monkeypatch.setattr("tfds_builders.formats.vendor_edf.read", warn)
    message = "Invalid value for VR UI: 'x'"
    assert _read(tmp_path / "a").notes == [vendor_readers.METADATA]
    message = "half of the samples are missing"
    with pytest.raises(Refused, match="half of the samples"):
        _read(tmp_path / "a")


def test_patterns_of_harmless_warnings_are_in_the_sources_of_ecgdatakit():
    """A pattern without a match is that of pydicom, or ecgdatakit has changed its words."""
    from ecgdatakit.parsing.parsers import edf as any_parser

    folder = Path(any_parser.__file__).parent
    source = " ".join(path.read_text() for path in folder.glob("*.py"))
    source = re.sub(r'"\s+f?"', "", source)
    for pattern in vendor_readers.HARMLESS:
        if r"\bVRs?\b" not in pattern:
            assert any(re.search(part.strip("^"), source) for part in pattern.split("|")), pattern
