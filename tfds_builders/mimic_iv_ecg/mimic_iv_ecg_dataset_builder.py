"""MIMIC-IV-ECG 1.0: 800,035 recordings of 10 s at 500 Hz.

https://physionet.org/content/mimic-iv-ecg/1.0/
"""

import datetime
import re

from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import csv_table
from tfds_builders.recording import splits, windows
from tfds_builders.recording.recording import Recording

TABLE = "record_list.csv"
REMEDY = "replace the file by PhysioNet's"


class Builder(WfdbBuilder):
    """All recordings. Their leads are in the order aVR, aVF, aVL and are found by name."""

    RELEASE_NOTES = {"2.0.0": "MIMIC-IV-ECG 1.0."}
    url = "https://physionet.org/content/mimic-iv-ecg/1.0/"
    patient_key = b"ecgjax/mimic_iv_ecg"

    def find_recordings(self) -> list[Recording]:
        key = self.secret()
        recordings = [
            Recording(
                record_id=cells["study_id"],
                source_patient_id=cells["subject_id"],
                split=splits.assign_split(cells["subject_id"], key),
                location=cells["path"],
                recorded_at=cells["ecg_time"],
            )
            for cells in csv_table.read_cells(self.source / TABLE, PARSERS, REMEDY)
        ]
        # All last 10 s at 500 Hz, so that no header is read here.
        return [
            window
            for recording in recordings
            for window in windows.divide(
                recording, samples=5000, from_hz=500, config=self.builder_config
            )
        ]


def _path(text: str) -> str:
    if not re.fullmatch(r"files/p\d{4}/p\d{8}/s\d{5,9}/\d{5,9}", text, re.ASCII):
        raise ValueError(text)
    return text


PARSERS: dict[str, csv_table.Parser] = {
    "study_id": lambda text: str(int(text)),
    "subject_id": lambda text: str(int(text)),
    "ecg_time": csv_table.optional(datetime.datetime.fromisoformat),
    "path": _path,
}
"""Parser of each column that is read."""
