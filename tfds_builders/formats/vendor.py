"""Reads vendors' files in a sandbox, a separate process that is restarted after a crash."""

import contextlib
import dataclasses
import datetime
import functools
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from tfds_builders.recording.quality import RecordingError

SECONDS = 20
"""Time limit per file. Most files need a hundredth of it; the first also loads the libraries."""


@dataclasses.dataclass(frozen=True)
class VendorRecording:
    """The content of a vendor's file, without names, birth dates and findings.

    Those never leave the sandbox.
    """

    names: tuple[str, ...]
    """Name of each lead, as the file writes it."""
    value_uv: np.ndarray
    """float64 [time, lead]."""
    rate_hz: float
    patient: str
    """The patient's identifier, or an empty string."""
    time: datetime.datetime | None
    age: float | None
    """Age in years."""
    sex: str | None
    """"female" or "male"."""


@functools.lru_cache(maxsize=1)
def read(path: Path) -> VendorRecording:
    """Reads a file in one of the formats that vendor_sandbox knows.

    The last one is cached, since the windows of a file are read one after another.

    Raises:
      RecordingError: the file has another format, is damaged, or needs too much time or memory.
      InputError: ecgdatakit is not installed.
    """
    if path.is_symlink() or not path.is_file():
        raise RecordingError("file_name", f"{path}: no plain file; put it there itself")
    process = _start()
    timer = threading.Timer(SECONDS, process.kill)  # ends the wait for its answer
    timer.start()
    try:
        answer, data = _ask(process, path)
    except (OSError, ValueError) as error:
        _stop(process)
        problem = f"{path}: its reader was stopped, after {SECONDS} s or out of memory"
        raise RecordingError("resources", f"{problem}; leave it out") from error
    finally:
        timer.cancel()
    if "refused" in answer:
        reason, message = answer["refused"]
        raise RecordingError(reason, f"{path}: {message}")
    time = answer["time"]
    return VendorRecording(
        names=tuple(answer["names"]),
        value_uv=np.frombuffer(data, "<f8").reshape(answer["shape"]),
        rate_hz=answer["rate_hz"],
        patient=answer["patient"],
        time=datetime.datetime.fromisoformat(time) if time else None,
        age=answer["age"],
        sex=answer["sex"],
    )


def _ask(process: subprocess.Popen, path: Path) -> tuple[dict[str, Any], bytes]:
    """Sends a path to the sandbox and returns its answer and the bytes of the samples."""
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(str(path)).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    size = 8 * int(np.prod(answer["shape"]))
    data = process.stdout.read(size)
    if len(data) != size:
        raise ValueError("the sandbox ended")
    return answer, data


@functools.cache
def _start() -> subprocess.Popen:
    """Starts the sandbox, one for this process."""
    try:
        import ecgdatakit  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        problem = "vendors' files are read with ecgdatakit"
        raise InputError(f"{problem}; pip install 'ecgjax[vendor]'") from error
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
    )


def _stop(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        process.kill()
        process.communicate()
    _start.cache_clear()
