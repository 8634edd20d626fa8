"""PTB-XL 1.0.3: 21,799 twelve-lead recordings of 10 s, https://physionet.org/content/ptb-xl/1.0.3/."""

import ast
import datetime
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.util import DownloadError

from ecgjax.errors import InputError
from tfds_builders.conversion import builder
from tfds_builders.formats import csv_table, wfdb
from tfds_builders.formats.csv_table import cell, if_given, whole
from tfds_builders.recording import quality
from tfds_builders.recording.recording import Recording, RecordingsConfig

FOLDER = "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3"
URL = f"https://physionet.org/static/published-projects/ptb-xl/{FOLDER}.zip"
TABLE = "ptbxl_database.csv"
REMEDY = "replace the file by PhysioNet's"
SPLIT_OF_FOLD = {**dict.fromkeys(range(1, 9), "train"), 9: "validation", 10: "test"}
"""As its authors recommend: all labels of folds 9 and 10 were seen by a person."""


class Builder(builder.RecordingsBuilder):
    """PTB-XL at one of its two rates."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "PTB-XL 1.0.3, all 21,799 recordings."}
    BUILDER_CONFIGS = [
        RecordingsConfig(
            name="100hz", rate_hz=100, samples=1000, description="Downsampled by the authors."
        ),
        RecordingsConfig(name="500hz", rate_hz=500, samples=5000, description="As published."),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/ptb_xl"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        if self.source is None:
            self.source = _download(dl_manager)
        rate_hz = self.builder_config.rate_hz
        folder, table = self.source / f"records{rate_hz:g}", self.source / TABLE
        if not table.is_file():
            raise InputError(
                f"{table}: no such file; give the folder of PTB-XL that holds it as --source"
            )
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; choose the config of a rate that the source holds"
            )
        location = {"100": "filename_lr", "500": "filename_hr"}[f"{rate_hz:g}"]
        rows = csv_table.read(table, (*CELLS, location), REMEDY)
        return [_recording(row, location, table) for row in rows]

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has set it
        signal, rate_hz = wfdb.read_record(self.source / recording.location)
        if rate_hz != self.builder_config.rate_hz:
            problem = f"{recording.location}: {rate_hz:g} Hz instead of {self.builder_config.rate_hz:g} Hz"
            raise quality.RecordingError("rate", f"{problem}; fetch the record again")
        return {"signal": signal}


def _download(dl_manager: tfds.download.DownloadManager) -> Path:
    try:
        # TFDS tries a server that is out of reach for minutes; this finds out at once.
        urllib.request.urlopen(urllib.request.Request(URL, method="HEAD"), timeout=30).close()
        return Path(dl_manager.download_and_extract(URL)) / FOLDER
    except (OSError, DownloadError) as error:
        problem = " ".join(f"{URL}: {error}".split())
        raise InputError(
            f"{problem}; fetch and unpack it, and give its folder as --source"
        ) from error


def _recording(row: dict[str, str], location: str, table: Path) -> Recording:
    where = f"{table}: ecg_id {row['ecg_id'][:20]}"
    cells = {column: cell(row, column, parse, where, REMEDY) for column, parse in CELLS.items()}
    return Recording(
        record_id=cells["ecg_id"],
        source_patient_id=cells["patient_id"],
        split=SPLIT_OF_FOLD[cells["strat_fold"]],
        location=cell(row, location, _location, where, REMEDY),
        recorded_at=cells["recording_date"],
        age=cells["age"],
        sex=cells["sex"],
        site=cells["site"],
        device=cells["device"],
        fold=cells["strat_fold"],
        labels=cells["scp_codes"],
    )


def _location(text: str) -> str:
    if not re.fullmatch(r"records\d{3}/\d{5}/\d{5}_[lh]r", text):
        raise ValueError(text)
    return text


def _fold(text: str) -> int:
    fold = whole(text)
    if fold not in SPLIT_OF_FOLD:
        raise ValueError(text)
    return fold


def _age(text: str) -> float:
    """Years. PTB-XL writes 300 for everybody over 89; they become 90, which nobody else is."""
    age = float(text)
    if not (0 <= age < 90 or age == 300):
        raise ValueError(text)
    return min(age, 90.0)


def _labels(text: str) -> tuple[str, ...]:
    """All statements, whatever their likelihood: 0 is PTB-XL's mark for an unknown one."""
    codes = ast.literal_eval(text)
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        raise ValueError(text)
    return tuple(codes)


CELLS: dict[str, Callable[[str], Any]] = {
    "ecg_id": lambda text: f"{int(text):05d}",
    "patient_id": lambda text: str(whole(text)),
    "age": if_given(_age),
    "sex": if_given({"0": "male", "1": "female"}.__getitem__),
    "site": if_given(lambda text: str(whole(text))),
    "device": if_given(lambda text: " ".join(text.split())),
    "recording_date": if_given(datetime.datetime.fromisoformat),
    "scp_codes": _labels,
    "strat_fold": _fold,
}
"""How the cells of a column that is used are read."""
