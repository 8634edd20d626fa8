"""The readers of vendors' formats, found by the first bytes of a file.

Most are those of ecgdatakit. A warning of a reader is never dropped: unless it is listed here as
harmless, the file is rejected with it.
"""

import importlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tfds_builders.formats.vendor_content import Content, Refused, Rhythm
from tfds_builders.formats.vendor_record import keep_names, to_channels, to_content
from tfds_builders.recording.leads import LeadRule

FORMATS = (
    "GE MUSE, Philips, Mortara and HL7 aECG XML, SCP-ECG, DICOM, EDF, BDF, ISHNE, MFER, Kardia"
)
XML_READERS = {
    "restingecg": "vendor_xml.read_muse",
    "restingecgdata": "vendor_xml.read_sierra",
    "annotatedecg": "vendor_xml.read_aecg",
    "ecg": "vendor_xml.read_mortara",
}
"""Reader by the name of an XML file's root element, in lower case."""
KARDIA = re.compile(r'"(recordedAt|algorithmDetermination|amplitudeResolution|mainsFrequency)"')

METADATA = "a date or another statement is not valid and was not used"
HARMLESS = {
    r"^Additional .* waveform ignored|representative beat|median|_CYCLE|Kardia data\.enhanced": "",
    r"Section 5|Section 4 QRS subtraction zones are truncated, ignored": "",
    r"multiplex group\(s\) that are not loaded|rhythm series found|sequence sets in the": "",
    r"^Sampling rate .* is not an integer": "",
    r"raw counts|raw ADC counts|left unscaled|uncalibrated": "",
    r"has missing samples \(NaN\)": "",
    r"FirstSampleBaseline is non-zero|CHANNEL OFFSET is non-zero": (
        "a baseline of a lead is stated, which has no documented meaning and was not added"
    ),
    r"^Unrecognised sequences ignored": "signals that are no leads were left out",
    r"^Unit .* not recognised; value ignored|Section 1 has a wrong tag length": METADATA,
    r"not a valid date|invalid (birth date|measurement time)": METADATA,
    r"\bVRs?\b|value length|Unknown encoding|character set|Incorrect value for Specific": METADATA,
    r"Section 12 .* not loaded": "the long-term recording of SCP-ECG was not read",
    r"no sampling interval \(MWF_IVL\)": "no rate is stated; read at the default of MFER, 1000 Hz",
    r"spec code -9": "signals without a lead were left out",
}
"""Patterns of warnings that say nothing about the samples used, and the note that is counted for
the user. An empty note: the matter is dealt with elsewhere (channels without a gain are rejected if
they are leads, further recordings are read, derived signals are no recordings)."""


def read(path: Path, rule: LeadRule) -> Content:
    """Returns all recordings of a file.

    Args:
      path: the file; its name does not matter.
      rule: the leads that the data set holds, and the names of the source's own.

    Raises:
      Refused: no reader knows the format, or its reader warns that samples may be wrong or missing.
    """
    with path.open("rb") as file:
        start = file.read(1 << 16)
    module, name = find_reader(start).split(".")
    reader = getattr(importlib.import_module(f"tfds_builders.formats.{module}"), name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for about_code in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", about_code)
        content = reader(path, rule)
    for warning in caught:
        note = _note(str(warning.message), warning.category)
        content.notes += [note] if note else []
    content.notes = list(dict.fromkeys(content.notes))
    return content


def _note(message: str, category: type[Warning]) -> str:
    """Returns the note for a warning, or rejects the file."""
    text = " ".join(message.split())[:300]
    if "Checksum" in category.__name__:
        raise Refused("checksum", f"is damaged ({text}); export it again")
    for pattern, note in HARMLESS.items():
        if re.search(pattern, text):
            return note
    raise Refused("warned", f"its reader warns: {text}; export it again")


def find_reader(start: bytes) -> str:
    """Returns MODULE.FUNCTION of this package for a file, from its first bytes.

    Raises:
      Refused: the format is not known.
    """
    if start[128:132] == b"DICM":
        return "vendor_dicom.read"
    if start[16:22] == b"SCPECG" or _begins_with_scp_pointer(start):
        return "vendor_readers.read_scp"
    if start[:8] in (b"0       ", b"\xffBIOSEMI"):
        return "vendor_edf.read"
    if start[:8] == b"ISHNE1.0":
        return "vendor_readers.read_ishne"
    text = _text(start)
    root = re.search(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)", text)
    if text.startswith("<") and root and root[1].casefold() in XML_READERS:
        return XML_READERS[root[1].casefold()]
    if text.startswith("{") and KARDIA.search(text):
        return "vendor_readers.read_kardia"
    if not text.startswith(("<", "{")) and _parser("mfer.MFERParser").can_parse(Path(), start):
        return "vendor_readers.read_mfer"
    raise Refused("format", f"none of {FORMATS}; leave it out")


def _text(start: bytes) -> str:
    """Returns the text of a file's first bytes without XML comments."""
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    text = start[: len(start) // 2 * 2].decode(encoding, "replace")
    text = text.lstrip("\ufeff\xef\xbb\xbf \r\n\t")
    return re.sub("<!--.*?-->", "", text, flags=re.DOTALL).lstrip()


def _begins_with_scp_pointer(start: bytes) -> bool:
    """Tells whether the first section has number 0 and points to itself, at byte 7."""
    return (start[8:10] + start[22:24], start[28:32]) == (bytes(4), b"\x07\0\0\0")


def _parser(name: str) -> Any:
    module_name, class_name = name.split(".")
    module = importlib.import_module(f"ecgdatakit.parsing.parsers.{module_name}")
    keep_names(module)
    return getattr(module, class_name)()


def read_scp(path: Path, rule: LeadRule) -> Content:
    """Returns the recording of an SCP-ECG file; its leads may begin at different times."""
    record = _parser("scp_ecg.SCPECGParser").parse(path)
    content = to_content(record)
    rate_hz = 1e6 / record.raw_metadata["rhythm_sample_interval_us"]
    content.rhythms = [Rhythm(to_channels(record.leads, rate_hz))]
    return content


def read_ishne(path: Path, rule: LeadRule) -> Content:
    """Returns the recording of an ISHNE Holter file, with -32768 as a missing sample."""
    record = _parser("ishne_holter.ISHNEHolterParser").parse(path)
    content = to_content(record)
    for lead in record.leads:
        lead.samples[lead.samples == -32768] = np.nan
    content.rhythms = [Rhythm(to_channels(record.leads, record.leads[0].sampling_rate))]
    return content


def read_kardia(path: Path, rule: LeadRule) -> Content:
    """Returns the unfiltered recording of an AliveCor Kardia file."""
    record = _parser("alivecor_kardia.AliveCorKardiaParser").parse(path)
    content = to_content(record)
    rate_hz = float(record.raw_metadata["raw"]["frequency"])
    content.rhythms = [Rhythm(to_channels(record.leads, rate_hz))]
    return content


def read_mfer(path: Path, rule: LeadRule) -> Content:
    """Returns the recording of an MFER file."""
    record = _parser("mfer.MFERParser").parse(path)
    content = to_content(record)
    rates_hz = record.raw_metadata.get("sampling_rates", [])
    content.rhythms = [Rhythm(to_channels(record.leads, rates_hz))]
    return content
