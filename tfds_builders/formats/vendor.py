"""Reads vendors' files in a sandbox, a separate process that is restarted after a crash."""

import contextlib
import dataclasses
import datetime
import functools
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from tfds_builders.formats import vendor_sandbox
from tfds_builders.recording import windows
from tfds_builders.recording.leads import TWELVE, LeadRule, StoredSignal
from tfds_builders.recording.quality import RecordingError

SECONDS = 20
"""Time limit per file. Most files need a hundredth of it."""
START_SECONDS = 60
"""Further time for the first file of a sandbox, which loads the libraries."""

PIPE_BYTES = 1 << 20
"""An answer of usual size fits in, so that the sandbox can go on with the next file."""


@dataclasses.dataclass(frozen=True)
class VendorRecording:
    """A recording of a vendor's file."""

    names: tuple[str, ...]
    """Name of each signal, as the file writes it."""
    stored: StoredSignal
    """The recording at its own rate; no samples if it cannot be read."""
    rate_hz: float
    time: datetime.datetime | None
    problem: tuple[str, str] | None = None
    """(reason, message) if it cannot be read."""

    def to_stored(self, origin: Path, rate_hz: float) -> StoredSignal:
        """Returns the whole recording at another sampling rate.

        Args:
          origin: the file, for the error message.
          rate_hz: the wanted sampling rate, in Hz.

        Raises:
          RecordingError: the recording cannot be read, or not at this rate.
        """
        if self.problem:
            raise RecordingError(*self.problem)
        return windows.to_rate(self.stored, from_hz=self.rate_hz, to_hz=rate_hz, origin=origin)


@dataclasses.dataclass(frozen=True)
class VendorFile:
    """The content of a vendor's file, without names, birth dates and findings.

    Those never leave the sandbox.
    """

    patient: str
    """The patient's identifier, or an empty string."""
    age: float | None
    """Age in years."""
    sex: str | None
    """"female" or "male"."""
    notes: tuple[str, ...]
    """Signals that were left out and other remarks, in words that quote nothing of the file."""
    recordings: tuple[VendorRecording, ...]


class Sandbox:
    """A process that reads one file after another; not to be used by two threads at a time."""

    def __init__(self, rule: LeadRule = TWELVE):
        self._rule = rule
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def read(self, path: Path) -> VendorFile:
        """Reads a file in one of the formats that vendor_readers knows.

        Raises:
          RecordingError: the file has another format, is damaged, or needs too much time or memory.
          InputError: ecgdatakit is not installed.
        """
        if not path.is_file():
            raise RecordingError("file_name", f"{path}: no plain file; put it there itself")
        limit_s = SECONDS if self._process else SECONDS + START_SECONDS
        process = self._process or _start()
        self._process = process
        try:
            facts, signals = self._ask(process, path, time.monotonic() + limit_s)
        except (OSError, ValueError) as error:
            self.close()
            problem = f"{path}: its reader was stopped, after {limit_s} s or out of memory"
            raise RecordingError("resources", f"{problem}; leave it out") from error
        if "refused" in facts:
            raise RecordingError(*_problem(facts, path))
        recordings = [
            _recording(recording, signal, path)
            for recording, signal in zip(facts["recordings"], signals, strict=True)
        ]
        return VendorFile(
            facts["patient"], facts["age"], facts["sex"], tuple(facts["notes"]), tuple(recordings)
        )

    def _ask(
        self, process: subprocess.Popen, path: Path, deadline: float
    ) -> tuple[dict, list[np.ndarray]]:
        """Sends a path to the sandbox and returns its answer."""
        assert process.stdin
        rule = self._rule
        request = {"path": str(path), "leads": rule.kept, "allow_missing": rule.allow_missing}
        request["lead_names"] = rule.names
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        size = int.from_bytes(_receive(process, vendor_sandbox.SIZE_BYTES, deadline))
        facts = json.loads(_receive(process, size, deadline))
        signals = []
        for recording in facts["recordings"]:
            size = 2 * int(np.prod(recording["shape"]))
            data = _receive(process, size, deadline)
            signals.append(np.frombuffer(data, "<i2").reshape(recording["shape"]))
        return facts, signals

    def close(self) -> None:
        """Ends the process; the next file starts another one."""
        if self._process:
            with contextlib.suppress(OSError):
                self._process.kill()
                self._process.communicate()
        self._process = None


@functools.cache
def _shared(rule: LeadRule) -> Sandbox:
    """Returns the sandbox of this process for `read`."""
    return Sandbox(rule)


@functools.lru_cache(maxsize=1)
def read(path: Path, rule: LeadRule = TWELVE) -> VendorFile:
    """Reads a file as `Sandbox.read` does.

    The last one is cached, since the windows of a file are read one after another.
    """
    return _shared(rule).read(path)


def _receive(process: subprocess.Popen, size: int, deadline: float) -> bytearray:
    """Returns the next bytes of the sandbox's answer.

    Raises:
      TimeoutError: they do not come before the deadline, of time.monotonic.
      ValueError: the sandbox has ended.
    """
    assert process.stdout
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    data = bytearray()
    while len(data) < size:
        if not poll.poll(max(0, 1000 * (deadline - time.monotonic()))):
            raise TimeoutError
        part = os.read(process.stdout.fileno(), size - len(data))
        if not part:
            raise ValueError("the sandbox ended")
        data += part
    return data


def _recording(facts: dict[str, Any], signal: np.ndarray, path: Path) -> VendorRecording:
    begin = facts["time"] and datetime.datetime.fromisoformat(facts["time"])
    if "refused" in facts:
        return VendorRecording((), StoredSignal(signal), 0.0, begin, _problem(facts, path))
    stored = StoredSignal(signal, tuple(facts["flags"]))
    return VendorRecording(tuple(facts["names"]), stored, facts["rate_hz"], begin)


def _problem(facts: dict[str, Any], path: Path) -> tuple[str, str]:
    reason, message = facts["refused"]
    return reason, f"{path}: {message}"


def _start() -> subprocess.Popen:
    if not importlib.util.find_spec("ecgdatakit"):
        problem = "vendors' files are read with ecgdatakit"
        raise InputError(f"{problem}; pip install 'ecgjax[vendor]'")
    command = [sys.executable, "-m", "tfds_builders.formats.vendor_sandbox"]
    environment = {
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # `_receive` reads from the pipe itself
        pipesize=PIPE_BYTES,
    )
