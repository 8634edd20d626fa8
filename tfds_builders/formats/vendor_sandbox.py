"""The sandbox in which vendors' files are read: `python -m tfds_builders.formats.vendor_sandbox`.

tfds_builders.formats.vendor starts it. The readers are those of ecgdatakit, and the files may come
from anybody. Therefore this process has little memory and time, cannot write files, start processes
or use the network, and can open only the requested file and the files of Python itself. It answers
with a line of JSON followed by the samples as raw bytes, which cannot execute anything.
"""

import importlib
import json
import os
import re
import resource
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MEMORY_BYTES = 2 << 30
"""Limit of the address space, much of which is used by libraries."""
MOST_FILE_BYTES = 64 << 20
MOST_VALUES = 30_000_000
XML_PARSERS = {
    "RestingECG": "ge_muse_xml.GEMuseXMLParser",
    "restingecgdata": "sierra_xml.SierraXMLParser",
    "AnnotatedECG": "hl7_aecg.HL7aECGParser",
}
"""Parser by the name of an XML file's root element."""
UV_PER_UNIT = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.",
    "ctypes.",
)
"""Prefixes of the audit events that are never allowed."""


class Refused(Exception):
    """A rejected file, with the reason and a message that does not contain the file's name."""


def find_parser(start: bytes) -> str:
    """Returns MODULE.CLASS of ecgdatakit.parsing.parsers for a file, from its first bytes.

    The name of the file does not matter.
    """
    if start[128:132] == b"DICM":
        return "dicom_waveform.DICOMWaveformParser"
    if start[16:22] == b"SCPECG" or _begins_with_scp_pointer(start):
        return "scp_ecg.SCPECGParser"
    if start[:8] == b"0       ":
        return "edf.EDFParser"
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    text = start[: len(start) // 2 * 2].decode(encoding, "replace")
    root = re.search(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)", text)
    is_xml = text.lstrip("\ufeff\xef\xbb\xbf \r\n\t").startswith("<")
    if is_xml and root and root[1] in XML_PARSERS:
        return XML_PARSERS[root[1]]
    formats = "GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, DICOM, EDF"
    raise Refused("format", f"none of {formats}; leave it out")


def _begins_with_scp_pointer(start: bytes) -> bool:
    """Tells whether the first section has number 0 and points to itself, at byte 7."""
    return (start[8:10] + start[22:24], start[28:32]) == (bytes(4), b"\x07\0\0\0")


def parse(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the metadata of a file and its samples, float64 [time, lead] in uV.

    The metadata are rate_hz, names of the leads, patient, time, age and sex.
    """
    if path.stat().st_size > MOST_FILE_BYTES:
        raise Refused("length", f"over {MOST_FILE_BYTES} bytes; leave it out")
    with path.open("rb") as file:
        module, name = find_parser(file.read(1 << 16)).split(".")
    parser = getattr(importlib.import_module(f"ecgdatakit.parsing.parsers.{module}"), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", importlib.import_module("ecgdatakit").ChecksumWarning)
        record = parser().parse(path)
    _check_leads(record.leads)
    signal = np.stack([_in_uv(lead) for lead in record.leads], axis=1)
    person = record.patient
    time = record.recording.date
    metadata = {
        "rate_hz": float(record.leads[0].sampling_rate),
        "names": [str(lead.label) for lead in record.leads],
        "patient": str(person.patient_id or ""),
        "time": time.replace(tzinfo=None).isoformat() if time else None,
        "age": None if person.age is None else float(person.age),
        "sex": SEXES.get(str(person.sex).casefold()),
    }
    return metadata, signal


def _check_leads(leads: list) -> None:
    """Checks that there are samples, not too many, and the same number in each lead."""
    if not leads or not len(leads[0].samples):
        raise Refused("leads", "holds no samples of a lead; leave it out")
    if len({(len(lead.samples), lead.sampling_rate) for lead in leads}) > 1:
        raise Refused("shape", "holds leads of different lengths or rates; export it again")
    if len(leads) * len(leads[0].samples) > MOST_VALUES:
        raise Refused("length", f"holds over {MOST_VALUES} samples; export parts of it")


def _in_uv(lead: Any) -> np.ndarray:
    has_gain = lead.resolution and lead.resolution_unit
    if not np.isfinite(lead.resolution) or (lead.is_raw and not has_gain):
        raise Refused("units", "has no gain, so that its numbers are no voltages; export it again")
    physical = lead.to_physical()
    unit = str(physical.units).replace("µ", "u").replace("μ", "u")
    if unit not in UV_PER_UNIT:
        raise Refused("units", f"has units {unit[:20]!r}; export it in {', '.join(UV_PER_UNIT)}")
    return np.asarray(physical.samples, np.float64) * UV_PER_UNIT[unit]


class Guard:
    """An audit hook that allows reading one file and Python's own files, and nothing else."""

    def __init__(self) -> None:
        self.file: str | None = None
        schemes = ("stdlib", "platstdlib", "purelib", "platlib")
        folders = [sysconfig.get_path(name) for name in schemes]
        folders += [sys.prefix, sys.base_prefix, *sys.path]
        self.libraries = tuple({os.path.realpath(path) + os.sep for path in folders if path})

    def __call__(self, event: str, arguments: tuple) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is forbidden to a reader")
        if event in ("os.listdir", "os.scandir") and not self._is_library(arguments[0]):
            raise PermissionError("listing a folder is forbidden to a reader")
        if event == "open" and not isinstance(arguments[0], int):
            self._check_open(*arguments[:3])

    def _check_open(self, file: Any, mode: Any, flags: int) -> None:
        if flags & (os.O_WRONLY | os.O_RDWR) or set(str(mode or "")) & set("wax+"):
            raise PermissionError("writing is forbidden to a reader")
        path = os.path.realpath(os.fsdecode(file))
        if path != self.file and not path.startswith(self.libraries):
            raise PermissionError("another file is forbidden to a reader")

    def _is_library(self, folder: str | bytes | int | None) -> bool:
        if not isinstance(folder, str | bytes):
            return False
        return (os.path.realpath(os.fsdecode(folder)) + os.sep).startswith(self.libraries)


def answer(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Returns the result of `parse`, or {"refused": (reason, message)} and an empty array."""
    try:
        return parse(path)
    except Refused as refusal:
        refused = refusal.args
    except MemoryError:
        refused = ("memory", "needs too much memory; leave it out")
    except Exception as error:  # readers raise any exception of their libraries
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        reason = "checksum" if "Checksum" in type(error).__name__ else "unreadable"
        refused = (reason, f"cannot be read ({problem}); export it again")
    return {"refused": refused}, np.zeros((0, 0))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests, one path per line as JSON, until the stream ends."""
    guard = Guard()
    sys.addaudithook(guard)
    for line in requests:
        path = Path(json.loads(line))
        guard.file = os.path.realpath(path)
        metadata, signal = answer(path)
        data = np.ascontiguousarray(signal, "<f8").tobytes()
        answers.write(json.dumps(metadata | {"shape": signal.shape}).encode() + b"\n" + data)
        answers.flush()


def main() -> None:
    """Limits memory and file size, then serves requests from standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the answers
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
