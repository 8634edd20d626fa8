"""Reads the records below a folder as wfdb_folder does, watching what is opened: `python read_corpus.py FOLDER`."""

import json
import os
import resource
import sys
import time
from pathlib import Path

from tfds_builders.formats import wfdb
from tfds_builders.recording import quality
from tfds_builders.recording.recording import Recording
from tfds_builders.wfdb_folder.wfdb_folder_dataset_builder import Builder

opened: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        opened.append(os.path.realpath(os.fsdecode(arguments[0])))


def read(record: Path) -> str:
    """ "ok", or the reason to reject it."""
    config = Builder.BUILDER_CONFIGS[0]
    blank = Recording(record_id="a", source_patient_id="p", split="train", location=None)
    try:
        for window in wfdb.find_windows(record.parent, record.name, lambda header: blank, config):
            signal = wfdb.read_window(record.parent, window, config)
            quality.require_ecg(signal, str(record))
            quality.flags(signal, config.rate_hz)
    except quality.RecordingError as error:
        assert "\n" not in str(error) and ";" in str(error), str(error)
        return error.reason
    return "ok"


def main(folder: Path) -> None:
    """Prints what became of each record, in how many seconds, and what was opened outside; and the peak of memory."""
    import scipy.signal  # noqa: F401
    import soundfile  # noqa: F401  # the files of libraries are not what is watched

    sys.addaudithook(_watch)
    found = {}
    for record in sorted(folder.iterdir()):
        opened.clear()
        started = time.perf_counter()
        reason = read(record / "a")
        outside = [
            path for path in opened if not path.startswith(f"{os.path.realpath(record)}{os.sep}")
        ]
        found[record.name] = {
            "reason": reason,
            "seconds": time.perf_counter() - started,
            "outside": outside,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"records": found, "peak_bytes": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
