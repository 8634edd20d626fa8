"""Files of vendors, read in a sandbox: a process of its own, started with the first and again when one kills it."""

import contextlib
import dataclasses
import datetime
import functools
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from ecgjax.errors import InputError
from tfds_builders.recording.quality import RecordingError

SECONDS = 20
"""A file that takes longer is rejected. Most take a hundredth of it; the first waits for the libraries."""


@dataclasses.dataclass(frozen=True)
class VendorRecording:
    """What a file of a vendor holds, but for names, birth dates and findings, which stay in the sandbox."""

    names: tuple[str, ...]
    value_uv: np.ndarray
    """float64 [time, lead]."""
    rate_hz: float
    patient: str
    """The patient's identifier, or nothing."""
    time: datetime.datetime | None
    age: float | None
    """In years."""
    sex: str | None


@functools.lru_cache(maxsize=1)
def read(path: Path) -> VendorRecording:
    """Reads a file of one of the formats of vendor_sandbox. The last one is kept, for the windows of it.

    Raises:
      RecordingError: it is none, is damaged, or takes too long or too much.
      InputError: ecgdatakit is not installed.
    """
    if path.is_symlink() or not path.is_file():
        raise RecordingError("file_name", f"{path}: no plain file; put it there itself")
    process = _start()
    timer = threading.Timer(SECONDS, process.kill)  # reading from a sandbox that was killed ends
    timer.start()
    try:
        about, data = _ask(process, path)
    except (OSError, ValueError) as error:
        _stop(process)
        problem = f"{path}: its reader was stopped, after {SECONDS} s or for want of memory"
        raise RecordingError("resources", f"{problem}; leave it out") from error
    finally:
        timer.cancel()
    if "refused" in about:
        reason, message = about["refused"]
        raise RecordingError(reason, f"{path}: {message}")
    signal = np.frombuffer(data, "<f8").reshape(about["shape"])
    time = about["time"] and datetime.datetime.fromisoformat(about["time"])
    return VendorRecording(
        tuple(about["names"]),
        signal,
        about["rate_hz"],
        about["patient"],
        time or None,
        about["age"],
        about["sex"],
    )


def _ask(process: subprocess.Popen, path: Path) -> tuple[dict, bytes]:
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(str(path)).encode() + b"\n")
    process.stdin.flush()
    about = json.loads(process.stdout.readline())
    size = 8 * int(np.prod(about["shape"]))
    data = process.stdout.read(size)
    if len(data) != size:
        raise ValueError("the sandbox ended")
    return about, data


@functools.cache
def _start() -> subprocess.Popen:
    """The sandbox of this process."""
    try:
        import ecgdatakit  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "files of vendors are read with ecgdatakit; pip install 'ecgjax[vendor]'"
        ) from error
    command = [sys.executable, "-m", "tfds_builders.formats.vendor_sandbox"]
    environment = {
        "PYTHONPATH": ":".join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=nowhere)


def _stop(process: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):
        process.kill()
        process.communicate()
    _start.cache_clear()
