"""Reads the records of a folder as wfdb_folder does, and watches which files are opened.

Usage: `python read_corpus.py FOLDER`.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

from tfds_builders.formats import wfdb
from tfds_builders.recording import checks, quality
from tfds_builders.recording.recording import Recording
from tfds_builders.wfdb_folder.wfdb_folder_dataset_builder import Builder

opened: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        opened.append(os.path.realpath(os.fsdecode(arguments[0])))


def read(record: Path) -> str:
    """Returns "ok", or the reason to reject a record."""
    config = Builder.BUILDER_CONFIGS[0]
    blank = Recording(record_id="a", source_patient_id="p", split="train", location=None)
    try:
        for window in wfdb.find_windows(record.parent, record.name, lambda header: blank, config):
            signal = wfdb.read_window(record.parent, window, config)["signal"]
            checks.require_ecg(signal, str(record))
            checks.find_flags(signal, config.rate_hz)
    except quality.RecordingError as error:
        assert "\n" not in str(error) and ";" in str(error), str(error)
        return error.reason
    return "ok"


def main(folder: Path) -> None:
    """Prints outcome, duration and opened outside files of each record, and the peak memory."""
    # Imported now: the files of libraries should not be watched.
    import scipy.signal  # noqa: F401
    import soundfile  # noqa: F401

    sys.addaudithook(_watch)
    outcomes = {}
    for record in sorted(folder.iterdir()):
        opened.clear()
        started = time.perf_counter()
        reason = read(record / "a")
        outside = [
            path for path in opened if not path.startswith(f"{os.path.realpath(record)}{os.sep}")
        ]
        outcomes[record.name] = {
            "reason": reason,
            "seconds": time.perf_counter() - started,
            "outside": outside,
        }
    # On Linux the largest size by getrusage is at least that of the process that started this one.
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = int(lines["VmHWM"].split()[0]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes
    print(json.dumps({"records": outcomes, "peak_bytes": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
