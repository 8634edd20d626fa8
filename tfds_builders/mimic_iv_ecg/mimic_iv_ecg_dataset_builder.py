"""MIMIC-IV-ECG 1.0: 800,035 recordings of 10 s at 500 Hz, https://physionet.org/content/mimic-iv-ecg/1.0/."""

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.conversion import builder
from tfds_builders.formats import csv_table, wfdb
from tfds_builders.recording import splits
from tfds_builders.recording.recording import Recording, rates

URL = "https://physionet.org/content/mimic-iv-ecg/1.0/"
TABLE = "record_list.csv"
REMEDY = "replace the file by PhysioNet's"


class Builder(builder.RecordingsBuilder):
    """MIMIC-IV-ECG. Its leads are in the order aVR, aVF, aVL; they are found by name."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "MIMIC-IV-ECG 1.0."}
    BUILDER_CONFIGS = rates(100, 500)
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/mimic_iv_ecg"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        table = self.source_folder(URL) / TABLE
        return [self._recording(row, table) for row in csv_table.read(table, CELLS, REMEDY)]

    def _recording(self, row: csv_table.Row, table: Path) -> Recording:
        where = f"{table}: study_id {row['study_id'][:20]}"
        cells = {
            column: csv_table.cell(row, column, parse, where, REMEDY)
            for column, parse in CELLS.items()
        }
        return Recording(
            record_id=cells["study_id"],
            source_patient_id=cells["subject_id"],
            split=splits.of_patient(cells["subject_id"], self.secret()),
            location=(cells["path"], 0),  # all are of 10 s, so that no header need be read here
            recorded_at=cells["ecg_time"],
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        return {"signal": wfdb.read_window(self.source, recording, self.builder_config)}


def _path(text: str) -> str:
    if not re.fullmatch(r"files/p\d{4}/p\d{8}/s\d{5,9}/\d{5,9}", text, re.ASCII):
        raise ValueError(text)
    return text


CELLS: dict[str, Callable[[str], Any]] = {
    "subject_id": lambda text: str(int(text)),
    "study_id": lambda text: str(int(text)),
    "ecg_time": csv_table.if_given(datetime.datetime.fromisoformat),
    "path": _path,
}
"""How the cells of a column that is used are read."""
