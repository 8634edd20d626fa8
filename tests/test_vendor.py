"""The builder of vendor_folder and its sandbox."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from helpers import muse

from ecgjax.signals import LEADS, MISSING, lead_name
from tfds_builders.formats import vendor, vendor_sandbox
from tfds_builders.prepare import prepare
from tfds_builders.recording import checks, leads
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording
from tfds_builders.vendor_folder import vendor_folder_dataset_builder as vendor_folder

pytest.importorskip("ecgdatakit")


@pytest.fixture(autouse=True, scope="module")
def _stop_the_sandbox():
    yield
    vendor.read.cache_clear()
    vendor._shared(leads.TWELVE).close()


def _read(path: Path) -> vendor.VendorRecording:
    """Returns the only recording of a file."""
    (recording,) = vendor.read(path).recordings
    return recording


def test_eight_leads_of_muse_become_twelve(tmp_path):
    stored = muse.write(tmp_path / "raw/a", samples=5100)
    content = _read(tmp_path / "raw/a")
    assert content.names == muse.EIGHT and content.rate_hz == 500
    signal = content.to_stored(tmp_path, 500).signal
    assert signal.shape == (5100, 12)
    value_uv = stored * muse.UV_PER_LSB
    columns = [LEADS.index(lead) for lead in muse.EIGHT]
    np.testing.assert_array_equal(signal[:, columns], np.rint(value_uv))
    one = value_uv[:, 0]
    two = value_uv[:, 1]
    expected = {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    for lead, value_uv in expected.items():
        np.testing.assert_allclose(signal[:, LEADS.index(lead)], value_uv, atol=0.51)


def test_the_exponent_of_a_rate_is_applied(tmp_path):
    muse.write(tmp_path / "a.xml", rate_hz=5000, exponent=-1)
    assert _read(tmp_path / "a.xml").rate_hz == 500


ENTITIES = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))
BAD = {
    "crc": ({"crc_error": 1}, "checksum"),
    "units": ({"units": "PASCALS"}, "units"),
    "gain 0": ({"gain": 0}, "units"),
    "gain nan": ({"gain": float("nan")}, "units"),
    "gain enormous": ({"gain": 1e6}, "range"),
    "rate 0": ({"rate_hz": 0}, "unreadable"),
    "rate enormous": ({"exponent": 9}, "rate"),
    "one lead": ({"leads": ("II",)}, "leads"),
    "a lead twice": ({"leads": ("I", "II", "V1", "V2", "V3", "V4", "V5", "V5")}, "leads"),
    "a lead unknown": ({"leads": ("I", "II", "V1", "V2", "V3", "V4", "V5", "V9")}, "leads"),
    "short": ({"samples": 4900}, "length"),
    "laughs": (
        {"doctype": f'<!DOCTYPE x [<!ENTITY b0 "ha">{ENTITIES}]>', "statement": "&b11;"},
        "unreadable",
    ),
    "outside": (
        {"doctype": '<!DOCTYPE x [<!ENTITY p SYSTEM "file:///etc/passwd">]>', "statement": "&p;"},
        "unreadable",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_faulty_muse_file_is_rejected(tmp_path, case):
    changes, reason = BAD[case]
    muse.write(tmp_path / "a.xml", **changes)
    builder = vendor_folder.Builder(config="500hz", source=tmp_path, data_dir=tmp_path / "out")
    recording = Recording(
        record_id="a", source_patient_id="p", split="train", location=(("a.xml", 0, ()), 0)
    )
    with pytest.raises(RecordingError, match="a.xml") as caught:
        checks.require_ecg(builder.read_recording(recording)["signal"], "a.xml")
    assert caught.value.reason == reason and "\n" not in str(caught.value)


OTHER = {
    "empty": (b"", "format"),
    "text": (b"hello", "format"),
    "zip": (b"PK\x03\x04" + bytes(100), "format"),
    "wfdb": (b"a 12 500 5000\n../x.dat 16 1000 16 0 0 0 0 I\n", "format"),
    "html": (b"<html><body>404</body></html>", "format"),
    "dicom": (bytes(128) + b"DICM" + bytes(500), "unreadable"),
    "scp": (bytes(16) + b"SCPECG" + bytes(500), "unreadable"),
    "edf": (b"0       " + b" " * 600, "format"),
    "muse": (b"<RestingECG></RestingECG>", "unreadable"),
    "deep": (b"<RestingECG>" + b"<a>" * 100_000, "unreadable"),
    "sierra": ("<restingecgdata xmlns='x'>".encode("utf-16"), "unreadable"),
    "aecg": (b"<AnnotatedECG/>", "unreadable"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_file_of_another_format_is_rejected(tmp_path, case):
    content, reason = OTHER[case]
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        vendor.read(tmp_path / "a.xml")
    assert caught.value.reason in (reason, "leads")


def test_links_to_nothing_and_folders_are_rejected(tmp_path):
    (tmp_path / "link.xml").symlink_to("/absent")
    for name in ("link.xml", "absent.xml", "."):
        with pytest.raises(RecordingError) as caught:
            vendor.read(tmp_path / name)
        assert caught.value.reason == "file_name"


def test_a_reader_that_hangs_is_stopped_and_the_next_file_read(tmp_path, monkeypatch):
    muse.write(tmp_path / "a.xml")
    with vendor.Sandbox() as sandbox:
        sandbox.read(tmp_path / "a.xml")
        with monkeypatch.context() as patch:
            patch.setattr(vendor, "SECONDS", 0.5)
            assert sandbox._process
            os.kill(sandbox._process.pid, signal.SIGSTOP)
            with pytest.raises(RecordingError, match="was stopped") as caught:
                sandbox.read(tmp_path / "a.xml")
        assert caught.value.reason == "resources"
        assert sandbox.read(tmp_path / "a.xml").recordings[0].rate_hz == 500


def test_the_guard_allows_nothing_but_the_file(tmp_path):
    guard = vendor_sandbox.Guard()
    guard.file = str(tmp_path / "a.xml")
    guard("open", (tmp_path / "a.xml", "rb", os.O_RDONLY))
    guard("open", (os.__file__, "r", os.O_RDONLY))
    for event, arguments in [
        ("open", ("/etc/passwd", "r", os.O_RDONLY)),
        ("open", (tmp_path / "b.xml", "r", os.O_RDONLY)),
        ("open", (tmp_path / "a.xml", "w", os.O_WRONLY)),
        ("open", (tmp_path / "a.xml", None, os.O_RDWR)),
        ("os.listdir", (str(tmp_path),)),
        ("socket.connect", ()),
        ("subprocess.Popen", ()),
        ("os.system", ()),
    ]:
        with pytest.raises(PermissionError):
            guard(event, arguments)


def test_the_sandbox_cannot_open_another_file(tmp_path):
    """Runs in a separate process, since an audit hook cannot be removed."""
    (tmp_path / "a").write_text("x")
    lines = ["import sys", "from tfds_builders.formats.vendor_sandbox import Guard"]
    lines += ["guard = Guard()", "guard.file = sys.argv[1]", "sys.addaudithook(guard)"]
    lines += ["open(sys.argv[1]).close()", "open('/etc/hostname')"]
    command = [sys.executable, "-c", "\n".join(lines), tmp_path / "a"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert "PermissionError: another file is forbidden to a reader" in result.stderr


def test_the_output_identifies_none_of_200_patients(tmp_path):
    for number in range(200):
        person = {"PatientID": f"MRN77{number:04d}", "PatientLastName": f"Lastname{number:03d}"}
        person |= {
            "PatientFirstName": "Zacharias",
            "DateofBirth": f"0{1 + number % 9}-17-1938",
            "PatientAge": "82",
            "AgeUnits": "YEARS",
        }
        broken = {"units": f"Lastname{number:03d}"} if number % 20 == 0 else {}
        name = f"raw/Lastname{number:03d}_19380117.xml"
        muse.write(
            tmp_path / name,
            seed=number,
            samples=1000,
            rate_hz=100,
            person=person,
            date="07-19-2020",
            **broken,
        )
    command = [
        "--dataset",
        "vendor_folder",
        "--source",
        tmp_path / "raw",
        "--out",
        tmp_path / "out",
    ]
    command += ["--patient-key", tmp_path / "key"]
    run = [sys.executable, "-m", "ecgjax.launch.prepare", *map(str, command)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 0 and "200 found = 190 written + 10 rejected" in done.stdout, (
        done.stderr
    )
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    rows = pyarrow.parquet.read_table(next((tmp_path / "out").rglob("records.parquet"))).to_pylist()
    texts = [
        done.stdout,
        done.stderr,
        *(f"{name} {value}" for row in rows for name, value in row.items() if "_" not in name),
    ]
    texts += [file.read_text() for file in files if file.suffix in (".json", ".html")]
    for secret in (
        "Lastname",
        "Zacharias",
        "17-1938",
        "19380117",
        "1938-0",
        "07-19-2020",
        "2020-07-19",
    ):
        assert not any(secret.encode() in file.read_bytes() for file in files), secret
        assert not any(secret in text for text in texts), secret
    for short in ("MRN77", "Jane", "Roe"):  # the bytes of samples may contain these by chance
        assert not any(short in text for text in texts), short
    assert len({row["patient_id"] for row in rows}) == 190 and {row["age"] for row in rows} == {
        82.0
    }
    assert len({row["recorded_at"] for row in rows}) > 100


def _sample(name: str) -> Path:
    if "ECGJAX_SAMPLES" not in os.environ:
        pytest.skip("ECGJAX_SAMPLES does not name a folder with real recordings")
    return Path(os.environ["ECGJAX_SAMPLES"], "vendor", name)


def _compare(path: Path, expected_uv: dict[str, np.ndarray]) -> None:
    content = _read(path)
    signal = content.to_stored(path, content.rate_hz).signal
    assert not (signal == MISSING).any()
    for lead, value_uv in expected_uv.items():
        np.testing.assert_allclose(signal[:, LEADS.index(lead)], value_uv, atol=0.51)


def test_a_real_dicom_waveform_equals_pydicom():
    pydicom = pytest.importorskip("pydicom")
    path = _sample("dicom-general-1000hz.dcm")
    data = pydicom.dcmread(path)
    rhythm: Any = data.WaveformSequence[0]
    names = [
        str(channel.ChannelSourceSequence[0].CodeMeaning)
        for channel in rhythm.ChannelDefinitionSequence
    ]
    units = {
        str(c.ChannelSensitivityUnitsSequence[0].CodeValue)
        for c in rhythm.ChannelDefinitionSequence
    }
    assert units == {"uV"}
    array = data.waveform_array(0)
    _compare(
        path,
        {str(lead_name(name)): column for name, column in zip(names, array.T, strict=True)},
    )


@pytest.mark.parametrize("name", ["ge-muse-1.xml", "ge-muse-2.xml"])
def test_real_muse_files_equal_their_bytes(name):
    root = xml.etree.ElementTree.fromstring(_sample(name).read_bytes())
    (rhythm,) = [
        wave for wave in root.iter("Waveform") if wave.findtext("WaveformType") == "Rhythm"
    ]
    expected = {
        lead.findtext("LeadID", ""): np.frombuffer(
            base64.b64decode(lead.findtext("WaveFormData", "")), "<i2"
        )
        * float(lead.findtext("LeadAmplitudeUnitsPerBit", ""))
        for lead in rhythm.iter("LeadData")
    }
    assert len(expected) == 8
    _compare(_sample(name), expected)


def test_a_real_aecg_file_equals_its_digits():
    text = _sample("hl7-aecg.xml").read_text()
    scale = r'<scale value="([\d.]+)" unit="uV"/>'
    pattern = rf'code="MDC_ECG_LEAD_(\w+)".*?{scale}\s*<digits>([^<]+)</digits>'
    matches = re.findall(pattern, text, re.DOTALL)
    # The first twelve are the rhythm, the others are averages of it.
    expected = {
        str(lead_name(name)): np.array(digits.split(), float) * float(scale)
        for name, scale, digits in matches[:12]
    }
    assert len(expected) == 12
    _compare(_sample("hl7-aecg.xml"), expected)


@pytest.mark.parametrize("version", ["1.03", "1.04"])
def test_the_calibration_pulse_of_a_real_philips_file_is_cut_off(tmp_path, version):
    path = _sample(f"philips-sierra-{version}.xml")
    content = _read(path)
    assert content.stored.signal.shape == (5500, 12)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.xml").write_bytes(path.read_bytes())
    settings = {"source": tmp_path / "raw", "patient_key": tmp_path / "key"}
    prepared = prepare("vendor_folder/500hz", tmp_path / "out", **settings)
    assert json.loads((prepared / "report.json").read_text())["written"] == 1
    signal = content.to_stored(path, 500).signal[:5000].astype(int)
    # Within two steps of 5 uV; a pulse of 1 mV in all leads would violate III = II - I.
    assert np.abs(signal[:, 2] - (signal[:, 1] - signal[:, 0])).max() <= 10
    sierraecg = pytest.importorskip("sierraecg")
    for lead in sierraecg.read_file(str(path)).leads:
        np.testing.assert_allclose(
            signal[:, LEADS.index(lead.label)], np.asarray(lead.samples[:5000]) * 5
        )
