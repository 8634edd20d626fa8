"""The sandbox in which vendors' files are read: `python -m tfds_builders.formats.vendor_sandbox`.

tfds_builders.formats.vendor starts it. Most readers are those of ecgdatakit, and the files may come
from anybody. Therefore this process has little memory and time, cannot write files, start processes
or use the network, and can open only the requested file and the files of Python itself. It answers
with JSON followed by the samples as raw bytes, which cannot execute anything.
"""

import json
import os
import resource
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor_content, vendor_readers
from tfds_builders.formats.vendor_content import Content, Refused
from tfds_builders.recording.leads import LeadRule

MEMORY_BYTES = 2 << 30
"""Limit of the address space, much of which is used by libraries."""
MOST_FILE_BYTES = 64 << 20
SIZE_BYTES = 8
"""Bytes in front of an answer that hold the length of its facts."""
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


class Guard:
    """An audit hook that allows reading one file and Python's own files, and nothing else."""

    def __init__(self) -> None:
        self.file: str | None = None
        schemes = ("stdlib", "platstdlib", "purelib", "platlib")
        folders = [sysconfig.get_path(name) for name in schemes]
        folders += [sys.prefix, sys.base_prefix, *sys.path]
        # An editable installation is in none of these.
        for name in ("ecgjax", "tfds_builders"):
            folders += sys.modules[name].__path__
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


Answer = tuple[dict[str, Any], list[np.ndarray]]
"""Facts of a file and the samples of its recordings in stored form, int16 [time, 12]."""


def parse(path: Path, rule: LeadRule) -> Answer:
    """Returns patient, age, sex, notes and recordings of a file, and the samples.

    A recording has names of its signals, rate_hz, time, flags and shape; or "refused" with a reason
    and a message.
    """
    if path.stat().st_size > MOST_FILE_BYTES:
        raise Refused("length", f"over {MOST_FILE_BYTES} bytes; leave it out")
    content = vendor_readers.read(path, rule)
    recordings = list(_recordings(content, rule))
    facts = content.facts() | {"recordings": [facts for facts, _ in recordings]}
    return facts, [signal for _, signal in recordings]


def _recordings(content: Content, rule: LeadRule) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    for rhythm in content.rhythms:
        facts: dict[str, Any] = {"time": content.stated_time(rhythm)}
        signal = np.zeros((0, len(LEADS)), np.int16)
        try:
            signal, facts["flags"] = vendor_content.to_stored(rhythm.channels, rule)
            facts["names"] = [channel.name for channel in rhythm.channels]
            facts["rate_hz"] = vendor_content.rate_hz(rhythm.channels, rule)
        except Refused as refusal:
            facts["refused"] = refusal.args
        facts["shape"] = signal.shape
        yield facts, signal


def answer(path: Path, rule: LeadRule) -> Answer:
    """Returns the result of `parse`, or {"refused": (reason, message)} and no samples."""
    try:
        return parse(path, rule)
    except Refused as refusal:
        refused = refusal.args
    except MemoryError:
        refused = ("memory", "needs too much memory; leave it out")
    except Exception as error:  # readers raise any exception of their libraries
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        refused = ("unreadable", f"cannot be read ({problem}); export it again")
    return {"refused": refused, "recordings": []}, []


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests, each a line of JSON, until the stream ends."""
    guard = Guard()
    sys.addaudithook(guard)
    for line in requests:
        request = json.loads(line)
        guard.file = os.path.realpath(request["path"])
        rule = LeadRule(
            kept=tuple(request["leads"]),
            allow_missing=request["allow_missing"],
            names=tuple((name, lead) for name, lead in request["lead_names"]),
        )
        facts, signals = answer(Path(request["path"]), rule)
        text = json.dumps(facts).encode()
        samples = [np.ascontiguousarray(signal, "<i2").tobytes() for signal in signals]
        answers.write(b"".join([len(text).to_bytes(SIZE_BYTES), text, *samples]))
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
