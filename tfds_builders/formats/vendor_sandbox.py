"""The process that reads files of vendors: `python -m tfds_builders.formats.vendor_sandbox`, started by tfds_builders.formats.vendor.

The readers are ecgdatakit's, the files are anybody's. So they meet in a process that has little memory and time, cannot
write, start a process or use the network, and can open the one file that it was asked for and what Python itself needs.
It answers a line of JSON, and the samples as raw bytes; nothing that it sends can do anything but be read.
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
"""Of addresses; much of it is the libraries'."""
MOST_FILE_BYTES = 64 << 20
MOST_VALUES = 30_000_000
XML = {"RestingECG": "ge_muse_xml.GEMuseXMLParser", "restingecgdata": "sierra_xml.SierraXMLParser"}
XML |= {"AnnotatedECG": "hl7_aecg.HL7aECGParser"}
"""Preprocessor by the name of an XML file's root."""
UV_PER_UNIT = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
)
FORBIDDEN += (
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


class Refused(Exception):
    """A file that is rejected: the reason, and a message without the file's name."""


def parser_of(start: bytes) -> str:
    """Preprocessor of a file that begins so, MODULE.CLASS of ecgdatakit.parsing.parsers; its name does not matter."""
    if start[128:132] == b"DICM":
        return "dicom_waveform.DICOMWaveformParser"
    # Section 0 comes first, and its first pointer is to itself at byte 7.
    if start[16:22] == b"SCPECG" or (start[8:10] + start[22:24], start[28:32]) == (
        bytes(4),
        b"\x07\0\0\0",
    ):
        return "scp_ecg.SCPECGParser"
    if start[:8] == b"0       ":
        return "edf.EDFParser"
    coding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    text = start[: len(start) // 2 * 2].decode(coding, "replace")
    root = re.search(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)", text)
    if text.lstrip("\ufeff\xef\xbb\xbf \r\n\t").startswith("<") and root and root[1] in XML:
        return XML[root[1]]
    raise Refused(
        "format",
        "none of GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, DICOM, EDF; leave it out",
    )


def parse(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """What a file says: rate, names, patient, time, age, sex; and float64 [time, lead] in uV."""
    if path.stat().st_size > MOST_FILE_BYTES:
        raise Refused("length", f"over {MOST_FILE_BYTES} bytes; leave it out")
    with path.open("rb") as file:
        module, name = parser_of(file.read(1 << 16)).split(".")
    reader = getattr(importlib.import_module(f"ecgdatakit.parsing.parsers.{module}"), name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", importlib.import_module("ecgdatakit").ChecksumWarning)
        record = reader().parse(path)
    signal = np.stack([_in_uv(lead) for lead in _alike(record.leads)], axis=1)
    person, time = record.patient, record.recording.date
    about = {
        "rate_hz": float(record.leads[0].sampling_rate),
        "names": [str(lead.label) for lead in record.leads],
        "patient": str(person.patient_id or ""),
        "time": time.replace(tzinfo=None).isoformat() if time else None,
        "age": None if person.age is None else float(person.age),
        "sex": {"m": "male", "male": "male", "f": "female", "female": "female"}.get(
            str(person.sex).casefold()
        ),
    }
    return about, signal


def _alike(leads: list) -> list:
    if not leads or not len(leads[0].samples):
        raise Refused("leads", "holds no samples of a lead; leave it out")
    if len({(len(lead.samples), lead.sampling_rate) for lead in leads}) > 1:
        raise Refused("shape", "holds leads of different lengths or rates; export it again")
    if len(leads) * len(leads[0].samples) > MOST_VALUES:
        raise Refused("length", f"holds over {MOST_VALUES} samples; export parts of it")
    return leads


def _in_uv(lead: Any) -> np.ndarray:
    if not np.isfinite(lead.resolution) or (
        lead.is_raw and not (lead.resolution and lead.resolution_unit)
    ):
        raise Refused("units", "says no gain, so that its numbers are no voltages; export it again")
    physical = lead.to_physical()
    unit = str(physical.units).replace("µ", "u").replace("μ", "u")
    if unit not in UV_PER_UNIT:
        raise Refused("units", f"has units {unit[:20]!r}; export it in {', '.join(UV_PER_UNIT)}")
    return np.asarray(physical.samples, np.float64) * UV_PER_UNIT[unit]


class Guard:
    """An audit hook that lets nothing through but reading one file and Python's own."""

    def __init__(self) -> None:
        self.file: str | None = None
        names = ("stdlib", "platstdlib", "purelib", "platlib")
        places = [sysconfig.get_path(name) for name in names] + [
            sys.prefix,
            sys.base_prefix,
            *sys.path,
        ]
        self.libraries = tuple({os.path.realpath(place) + os.sep for place in places if place})

    def __call__(self, event: str, arguments: tuple) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is not for a reader")
        if event in ("os.listdir", "os.scandir") and not self._is_library(arguments[0]):
            raise PermissionError("a folder is not for a reader")
        if event == "open" and not isinstance(arguments[0], int):
            path, mode, flags = os.path.realpath(os.fsdecode(arguments[0])), *arguments[1:3]
            if flags & (os.O_WRONLY | os.O_RDWR) or set(str(mode or "")) & set("wax+"):
                raise PermissionError("writing is not for a reader")
            if path != self.file and not path.startswith(self.libraries):
                raise PermissionError("another file is not for a reader")

    def _is_library(self, place: str | bytes | int | None) -> bool:
        inside = (
            os.path.realpath(os.fsdecode(place)) + os.sep if isinstance(place, str | bytes) else ""
        )
        return inside.startswith(self.libraries)


def answer(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """As `parse`, or {"refused": (reason, message)} and nothing."""
    try:
        return parse(path)
    except Refused as refusal:
        refused = refusal.args
    except MemoryError:
        refused = ("memory", "needs too much memory; leave it out")
    except Exception as error:  # readers raise whatever their libraries do
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        reason = "checksum" if "Checksum" in type(error).__name__ else "unreadable"
        refused = (reason, f"cannot be read ({said}); export it again")
    return {"refused": refused}, np.zeros((0, 0))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers one file after the other until there are no more requests."""
    guard = Guard()
    sys.addaudithook(guard)
    for line in requests:
        path = Path(json.loads(line))
        guard.file = os.path.realpath(path)
        about, signal = answer(path)
        data = np.ascontiguousarray(signal, "<f8").tobytes()
        answers.write(json.dumps(about | {"shape": signal.shape}).encode() + b"\n" + data)
        answers.flush()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
