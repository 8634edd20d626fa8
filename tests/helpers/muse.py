"""GE MUSE XML files for tests: 8 leads, as carts store them, of a patient who is not one."""

import base64
import zlib
from pathlib import Path

import numpy as np

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
PERSON = {
    "PatientID": "MRN0042",
    "PatientLastName": "Doe",
    "PatientFirstName": "Jane",
    "DateofBirth": "03-02-1931",
}
PERSON |= {"PatientAge": "93", "AgeUnits": "YEARS", "Gender": "FEMALE"}
UV_PER_LSB = 4.88


def text(
    stored: np.ndarray,
    *,
    person: dict[str, str] | None = None,
    leads=EIGHT,
    rate_hz: int = 500,
    exponent: int = 0,
    units: str = "MICROVOLTS",
    gain: float = UV_PER_LSB,
    date: str = "03-04-2021",
    crc_error: int = 0,
    doctype: str = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">',
    statement: str = "Jane has a normal ECG",
) -> str:
    """A file with int16 [time, lead] as the rhythm."""
    demographics = "".join(
        f"<{key}>{value}</{key}>" for key, value in (PERSON if person is None else person).items()
    )
    test = f"<TestDemographics><AcquisitionTime>05:06:07</AcquisitionTime><AcquisitionDate>{date}</AcquisitionDate>"
    test += (
        "<Site>7</Site><AcquisitionTechLastName>Roe</AcquisitionTechLastName></TestDemographics>"
    )
    head = f"<WaveformType>Rhythm</WaveformType><NumberofLeads>{len(leads)}</NumberofLeads>"
    head += f"<SampleType>CONTINUOUS_SAMPLES</SampleType><SampleBase>{rate_hz}</SampleBase>"
    head += f"<SampleExponent>{exponent}</SampleExponent>"
    data = "".join(
        _lead(name, column.astype("<i2").tobytes(), units, gain, crc_error)
        for name, column in zip(leads, stored.T, strict=True)
    )
    diagnosis = f"<Diagnosis><DiagnosisStatement><StmtText>{statement}</StmtText></DiagnosisStatement></Diagnosis>"
    body = f"<PatientDemographics>{demographics}</PatientDemographics>{test}{diagnosis}<Waveform>{head}{data}</Waveform>"
    return (
        f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{doctype}\n<RestingECG>{body}</RestingECG>'
    )


def _lead(name: str, data: bytes, units: str, gain: float, crc_error: int) -> str:
    cells = {
        "LeadByteCountTotal": len(data),
        "LeadTimeOffset": 0,
        "LeadSampleCountTotal": len(data) // 2,
        "LeadAmplitudeUnitsPerBit": gain,
        "LeadAmplitudeUnits": units,
        "LeadHighLimit": 32767,
        "LeadLowLimit": -32768,
        "LeadID": name,
        "LeadOffsetFirstSample": 0,
        "FirstSampleBaseline": 0,
        "LeadSampleSize": 2,
        "LeadOff": "FALSE",
        "BaselineSway": "FALSE",
        "LeadDataCRC32": (zlib.crc32(data) + crc_error) % 2**32,
        "WaveFormData": base64.b64encode(data).decode(),
    }
    return (
        f"<LeadData>{''.join(f'<{key}>{value}</{key}>' for key, value in cells.items())}</LeadData>"
    )


def write(path: Path, *, seed: int = 0, samples: int = 5000, **changes) -> np.ndarray:
    """Writes a file, and gives what it stores as int16 [time, lead]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    leads = changes.get("leads", EIGHT)
    stored = np.random.default_rng(seed).integers(-200, 200, (samples, len(leads))).astype(np.int16)
    path.write_text(text(stored, **changes), encoding="latin-1")
    return stored
