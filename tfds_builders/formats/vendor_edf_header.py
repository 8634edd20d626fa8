"""The header of an EDF, EDF+, BDF or BDF+ file: signals, start and patient.

Sources: https://www.edfplus.info/specs (EDF, EDF+), https://www.biosemi.com/faq/file_format.htm
(BDF: 24 bits a sample).
"""

import dataclasses
import datetime
import re
from typing import Any

import numpy as np

from tfds_builders.formats.vendor_content import Refused

BDF = b"\xffBIOSEMI"
"""First bytes of BDF."""
FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "prefiltering": 80,
    "samples": 8,
    "reserved": 32,
}
"""Bytes of each field of a signal's header; a field is stored for all signals in turn."""
UNSET = datetime.date(1985, 1, 1)
"""The date that EDF+ demands in place of an unknown one."""
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a file."""

    fixed: bytes
    """The first 256 bytes."""
    signals: dict[str, list[str]]
    """The fields of all signals."""

    @property
    def sample_bytes(self) -> int:
        return 3 if self.fixed[:8] == BDF else 2

    @property
    def is_plus(self) -> bool:
        return self.fixed[192:196] in (b"EDF+", b"BDF+")

    @property
    def is_interrupted(self) -> bool:
        return self.fixed[192:197] in (b"EDF+D", b"BDF+D")

    @property
    def labels(self) -> list[str]:
        return self.signals["label"]

    @property
    def samples(self) -> list[int]:
        """Samples of each signal in a data record."""
        return [int(_number(text, "samples of a data record")) for text in self.signals["samples"]]

    @property
    def duration_s(self) -> float:
        """Duration of a data record."""
        return _number(_text(self.fixed[244:252]), "duration of a data record")

    @property
    def notes_signals(self) -> list[int]:
        """The signals that hold annotations, the time of each data record among them."""
        names = ("EDF Annotations", "BDF Annotations")
        return [index for index, label in enumerate(self.labels) if label in names]

    @property
    def records(self) -> int:
        """Number of data records; -1 if the recorder did not close the file."""
        return int(_number(_text(self.fixed[236:244]), "number of data records"))

    def columns(self, signal: int) -> slice:
        """Returns the bytes of a signal in a data record."""
        starts = np.cumsum([0, *self.samples]) * self.sample_bytes
        return slice(starts[signal], starts[signal + 1])

    def scale(self, signal: int) -> tuple[float, float]:
        """Returns gain and offset in units; NaN if the header states none that can be used."""
        names = ("digital_min", "digital_max", "physical_min", "physical_max")
        try:
            low, high, least, most = (float(self.signals[name][signal]) for name in names)
        except ValueError:
            return np.nan, np.nan
        if high <= low or least == most:
            return np.nan, np.nan
        gain = (most - least) / (high - low)
        return gain, least - gain * low

    def start(self) -> datetime.datetime | None:
        """Returns the start of the file; None if it is unknown."""
        words = _text(self.fixed[88:168]).split()
        day = _long_date(words[1]) if len(words) > 1 and words[0] == "Startdate" else None
        try:
            hour, minute, second = map(int, re.split("[.:]", _text(self.fixed[176:184])))
            time = datetime.time(hour, minute, second)
            day = day or _short_date(_text(self.fixed[168:176]))
        except ValueError:
            return None
        return None if day == UNSET else datetime.datetime.combine(day, time)

    def patient(self) -> dict[str, Any]:
        """Returns patient, sex and birth from "code sex birthdate name".

        Plain EDF has no such rule, but many programs follow it. Other text is an identifier as a
        whole.
        """
        text = _text(self.fixed[8:88])
        words = text.split()
        has_form = len(words) >= 3 and words[1].upper() in ("M", "F", "X")
        has_form = has_form and (words[2].upper() == "X" or _long_date(words[2]) is not None)
        if not (self.is_plus or has_form):
            return {"patient": text}
        code, sex, birth = [*words, "X", "X", "X"][:3]
        patient = "" if code.upper() == "X" else code
        return {"patient": patient, "sex": sex, "birth": _long_date(birth)}


def parse(data: bytes) -> Header:
    """Returns the header of a file.

    Raises:
      Refused: it is incomplete, or does not say how the samples are stored.
    """
    count = int(_number(_text(data[252:256]), "number of signals"))
    size = 256 * (count + 1)
    if count <= 0 or len(data) < size:
        raise Refused("format", f"holds no complete header of {count} signals; export it again")
    signals: dict[str, list[str]] = {}
    position = 256
    for name, width in FIELDS.items():
        starts = [position + index * width for index in range(count)]
        signals[name] = [_text(data[start : start + width]) for start in starts]
        position += count * width
    header = Header(data[:256], signals)
    if header.duration_s <= 0 or min(header.samples) <= 0:
        raise Refused("format", "has data records without duration or samples; export it again")
    return header


def _short_date(text: str) -> datetime.date:
    """Parses dd.mm.yy; years 85 to 99 are of the last century."""
    day, month, year = map(int, re.split("[.:/-]", text))
    return datetime.date(year + (1900 if year >= 85 else 2000), month, day)


def _long_date(text: str) -> datetime.date | None:
    """Parses dd-MMM-yyyy."""
    day, _, rest = text.upper().partition("-")
    month, _, year = rest.partition("-")
    try:
        return datetime.date(int(year), MONTHS.index(month) + 1, int(day))
    except ValueError:
        return None


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return text.replace("\0", "").strip()


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise Refused("format", f"has no valid {name} in its header; export it again")
    return value
