"""GE MUSE XML files for tests: eight leads, as carts store them, of an invented patient."""

import base64
import dataclasses
import itertools
import zlib
from pathlib import Path

import numpy as np

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
PERSON = {
    "PatientID": "MRN0042",
    "PatientLastName": "Doe",
    "PatientFirstName": "Jane",
    "DateofBirth": "03-02-1931",
    "PatientAge": "93",
    "AgeUnits": "YEARS",
    "Gender": "FEMALE",
}
UV_PER_LSB = 4.88


@dataclasses.dataclass(frozen=True)
class Muse:
    """The content of a file besides its samples."""

    person: dict[str, str] = dataclasses.field(default_factory=PERSON.copy)
    leads: tuple[str, ...] = EIGHT
    rate_hz: int = 500
    exponent: int = 0
    """Power of ten by which `rate_hz` is multiplied."""
    units: str = "MICROVOLTS"
    gain: float = UV_PER_LSB
    date: str = "03-04-2021"
    crc_error: int = 0
    """Number added to the right checksum of each lead."""
    doctype: str = '<!DOCTYPE RestingECG SYSTEM "restecg.dtd">'
    statement: str = "Jane has a normal ECG"
    kinds: tuple[str, ...] = ("Rhythm",)
    """Kind of each waveform."""
    starts_s: tuple[float, ...] = (0,)
    """Start of each waveform after the acquisition, or of the first ones."""

    def text(self, stored: np.ndarray) -> str:
        """Returns a file with int16 [waveform, time, lead]."""
        test = _elements({"AcquisitionTime": "05:06:07", "AcquisitionDate": self.date, "Site": 7})
        test += _elements({"AcquisitionTechLastName": "Roe"})
        statement = _elements({"StmtText": self.statement})
        diagnosis = _elements({"DiagnosisStatement": statement})
        parts = {
            "PatientDemographics": _elements(self.person),
            "TestDemographics": test,
            "Diagnosis": diagnosis,
        }
        starts_s = itertools.chain(self.starts_s, itertools.repeat(0))
        waveforms = [
            _elements({"Waveform": self._waveform(kind, start_s, samples)})
            for kind, start_s, samples in zip(self.kinds, starts_s, stored, strict=False)
        ]
        content = _elements({"RestingECG": _elements(parts) + "".join(waveforms)})
        return f'<?xml version="1.0" encoding="ISO-8859-1"?>\n{self.doctype}\n{content}'

    def _waveform(self, kind: str, start_s: float, stored: np.ndarray) -> str:
        fields = {
            "WaveformType": kind,
            "WaveformStartTime": start_s,
            "NumberofLeads": len(self.leads),
            "SampleType": "CONTINUOUS_SAMPLES",
            "SampleBase": self.rate_hz,
            "SampleExponent": self.exponent,
        }
        leads = [
            self._lead(name, column.astype("<i2").tobytes())
            for name, column in zip(self.leads, stored.T, strict=True)
        ]
        return _elements(fields) + "".join(leads)

    def _lead(self, name: str, data: bytes) -> str:
        fields = {
            "LeadByteCountTotal": len(data),
            "LeadTimeOffset": 0,
            "LeadSampleCountTotal": len(data) // 2,
            "LeadAmplitudeUnitsPerBit": self.gain,
            "LeadAmplitudeUnits": self.units,
            "LeadHighLimit": 32767,
            "LeadLowLimit": -32768,
            "LeadID": name,
            "LeadOffsetFirstSample": 0,
            "FirstSampleBaseline": 0,
            "LeadSampleSize": 2,
            "LeadOff": "FALSE",
            "BaselineSway": "FALSE",
            "LeadDataCRC32": (zlib.crc32(data) + self.crc_error) % 2**32,
            "WaveFormData": base64.b64encode(data).decode(),
        }
        return _elements({"LeadData": _elements(fields)})


def _elements(contents: dict[str, object]) -> str:
    """Returns one XML element for each name."""
    return "".join(f"<{name}>{content}</{name}>" for name, content in contents.items())


def write(path: Path, *, seed: int = 0, samples: int = 5000, **changes) -> np.ndarray:
    """Writes a file and returns its samples; `changes` are fields of `Muse`.

    Returns:
      int16 [time, lead], or [waveform, time, lead] if there are several.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = Muse(**changes)
    shape = (len(content.kinds), samples, len(content.leads))
    stored = np.random.default_rng(seed).integers(-200, 200, shape).astype(np.int16)
    path.write_text(content.text(stored), encoding="latin-1")
    return stored if len(stored) > 1 else stored[0]
