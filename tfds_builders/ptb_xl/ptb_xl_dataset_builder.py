"""PTB-XL 1.0.3: 21,799 twelve-lead recordings of 10 s.

https://physionet.org/content/ptb-xl/1.0.3/
"""

import ast
import datetime
import re
import urllib.request
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.util import DownloadError

from ecgjax.errors import InputError
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import csv_table, wfdb
from tfds_builders.formats.csv_table import optional, whole_number
from tfds_builders.recording import windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

FOLDER = "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3"
ZIP_URL = f"https://physionet.org/static/published-projects/ptb-xl/{FOLDER}.zip"
TABLE = "ptbxl_database.csv"
REMEDY = "replace the file by PhysioNet's"
SECONDS = 10
"""Length of every record."""
LOCATION_COLUMNS = {100: "filename_lr", 500: "filename_hr"}
"""Column with the path of the record, by sampling rate in Hz."""
SPLIT_BY_FOLD = {**dict.fromkeys(range(1, 9), "train"), 9: "validation", 10: "test"}
"""The split recommended by the authors: a person has checked all labels of folds 9 and 10."""


class Builder(WfdbBuilder):
    """PTB-XL at one of its two sampling rates."""

    RELEASE_NOTES = {"2.0.0": "PTB-XL 1.0.3, all 21,799 recordings."}
    BUILDER_CONFIGS = [
        RecordingsConfig(
            name="100hz", rate_hz=100, samples=1000, description="Downsampled by the authors."
        ),
        RecordingsConfig(name="500hz", rate_hz=500, samples=5000, description="As published."),
    ]
    url = "https://physionet.org/content/ptb-xl/1.0.3/"
    patient_key = b"ecgjax/ptb_xl"

    def download(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            # TFDS retries an unreachable server for minutes; this request fails at once.
            head = urllib.request.Request(ZIP_URL, method="HEAD")
            urllib.request.urlopen(head, timeout=30).close()
            return Path(dl_manager.download_and_extract(ZIP_URL)) / FOLDER
        except (OSError, DownloadError) as error:
            problem = " ".join(f"{ZIP_URL}: {error}".split())
            remedy = "fetch and unpack it, and give its folder as --source"
            raise InputError(f"{problem}; {remedy}") from error

    def find_recordings(self) -> list[Recording]:
        table = self.source / TABLE
        if not table.is_file():
            problem = f"{table}: no such file"
            raise InputError(f"{problem}; give the folder of PTB-XL that holds it as --source")
        rate_hz = self.builder_config.rate_hz
        folder = self.source / f"records{rate_hz:g}"
        if not folder.is_dir():
            problem = f"{folder}: no such folder"
            raise InputError(f"{problem}; choose the config of a rate that the source holds")
        column = LOCATION_COLUMNS[int(rate_hz)]
        rows = csv_table.read_cells(table, PARSERS | {column: _record}, REMEDY)
        length: dict[str, Any] = {"samples": round(SECONDS * rate_hz), "from_hz": rate_hz}
        length["config"] = self.builder_config
        if windows.count(**length) == 1:  # without a copy of each of 21,799 recordings
            return [_describe(cells, (cells[column], 0)) for cells in rows]
        return [
            window
            for cells in rows
            for window in windows.divide(_describe(cells, cells[column]), **length)
        ]

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        path = self.record_path(recording)
        config = self.builder_config
        stored, rate_hz = wfdb.read_record(path, config.lead_rule)
        if rate_hz != config.rate_hz:
            problem = f"{path}: {rate_hz:g} Hz instead of {config.rate_hz:g} Hz"
            raise RecordingError("rate", f"{problem}; fetch the record again")
        if len(stored.signal) != round(SECONDS * rate_hz):
            problem = f"{path}: {len(stored.signal)} samples instead of {SECONDS} s"
            raise RecordingError("length", f"{problem}; fetch the record again")
        stored = windows.to_rate(stored, from_hz=rate_hz, to_hz=rate_hz, origin=path)
        _, window = recording.location
        return {"signal": windows.cut(stored.signal, window, config, path), "flags": stored.flags}


def _describe(cells: dict[str, Any], location: Any) -> Recording:
    return Recording(
        record_id=cells["ecg_id"],
        source_patient_id=cells["patient_id"],
        split=SPLIT_BY_FOLD[cells["strat_fold"]],
        location=location,
        recorded_at=cells["recording_date"],
        age=cells["age"],
        sex=cells["sex"],
        site=cells["site"],
        device=cells["device"],
        fold=cells["strat_fold"],
        labels=cells["scp_codes"],
    )


def _record(text: str) -> str:
    if not re.fullmatch(r"records\d{3}/\d{5}/\d{5}_[lh]r", text):
        raise ValueError(text)
    return text


def _fold(text: str) -> int:
    fold = whole_number(text)
    if fold not in SPLIT_BY_FOLD:
        raise ValueError(text)
    return fold


def _age(text: str) -> float:
    """Parses an age in years. PTB-XL writes 300 above 89, stored as 90, which nobody else has."""
    age = float(text)
    if not (0 <= age < 90 or age == 300):
        raise ValueError(text)
    return min(age, 90.0)


def _labels(text: str) -> tuple[str, ...]:
    """Parses all statements, whatever their likelihood: PTB-XL writes 0 for an unknown one."""
    codes = ast.literal_eval(text)
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        raise ValueError(text)
    return tuple(codes)


PARSERS: dict[str, csv_table.Parser] = {
    "ecg_id": lambda text: f"{int(text):05d}",
    "patient_id": lambda text: str(whole_number(text)),
    "age": optional(_age),
    "sex": optional({"0": "male", "1": "female"}.__getitem__),
    "site": optional(lambda text: str(whole_number(text))),
    "device": optional(lambda text: " ".join(text.split())),
    "recording_date": optional(datetime.datetime.fromisoformat),
    "scp_codes": _labels,
    "strat_fold": _fold,
}
"""Parser of each column that is read, apart from the path of the record."""
