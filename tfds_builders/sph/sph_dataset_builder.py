"""SPH: 25,770 recordings of 24,666 patients of Shandong Provincial Hospital.

https://doi.org/10.6084/m9.figshare.c.5779802
"""

import datetime
import re
from typing import Any

import numpy as np

from ecgjax.signals import LEADS, UV_PER_UNIT
from tfds_builders.conversion import builder
from tfds_builders.formats import csv_table, hdf5
from tfds_builders.recording import splits, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording
from tfds_builders.second_readers import array_files
from tfds_builders.second_readers.reading import Reading

TABLE = "metadata.csv"
REMEDY = "replace the file by Figshare's"
RATE_HZ = 500
SCP = {
    1: "NORM",
    21: "STACH",
    22: "SBRAD",
    23: "SARRH",
    30: "PAC",
    50: "AFIB",
    51: "AFLT",
    60: "PVC",
    82: "LPR",
    88: "3AVB",
    101: "LAFB",
    102: "LPFB",
    104: "CLBBB",
    105: "IRBBB",
    106: "CRBBB",
    125: "LVOLT",
    140: "LAO/LAE",
    142: "LVH",
    143: "RVH",
    147: "TAB_",
    148: "LNGQT",
    160: "AMI",
    161: "IMI",
    165: "ASMI",
}
"""SCP-ECG statement for each primary statement of AHA/ACC/HRS (Mason et al. 2007) that has the same
meaning. AHA/ACC/HRS has separate codes for incomplete bundle branch block, so 104 and 106 are
complete."""


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s; the recordings last 10 to 60 s."""

    RELEASE_NOTES = {"2.0.0": "First version."}
    url = "https://doi.org/10.6084/m9.figshare.c.5779802"
    patient_key = b"ecgjax/sph"

    def find_recordings(self) -> list[Recording]:
        rows = csv_table.read_cells(self.source / TABLE, PARSERS, REMEDY)
        return [window for cells in rows for window in self._windows(cells)]

    def _windows(self, cells: dict[str, Any]) -> list[Recording]:
        recording = Recording(
            record_id=cells["ECG_ID"],
            source_patient_id=cells["Patient_ID"],
            split=splits.assign_split(cells["Patient_ID"], self.secret()),
            location=f"records/{cells['ECG_ID']}.h5",
            recorded_at=cells["Date"],
            age=cells["Age"],
            sex=cells["Sex"],
            labels=cells["AHA_Code"],
        )
        return windows.divide(
            recording, samples=cells["N"], from_hz=RATE_HZ, config=self.builder_config
        )

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        file, window = recording.location
        path = self.source / file
        signal_mv = hdf5.read(path, "ecg").astype(np.float64)
        if signal_mv.ndim != 2 or len(signal_mv) != len(LEADS):
            problem = f"{path}: shape {list(signal_mv.shape)}, not [12, time]"
            raise RecordingError("format", f"{problem}; fetch it again")
        return windows.convert(
            signal_mv.T * UV_PER_UNIT["mV"],
            LEADS,
            from_hz=RATE_HZ,
            window=window,
            config=self.builder_config,
            origin=path,
        )

    def read_again(self, recording: Recording) -> list[Reading]:
        file, _ = recording.location
        place = array_files.Place("ecg", 0, ("lead", "time"), LEADS)
        again = array_files.read(self.source / file, place)
        return [Reading(again.reader, LEADS, again.numbers * UV_PER_UNIT["mV"], RATE_HZ)]


def _labels(text: str) -> tuple[str, ...]:
    """Parses statements separated by semicolons; modifiers, which follow a +, are dropped."""
    codes = [int(statement.split("+")[0]) for statement in text.split(";") if statement.strip()]
    return tuple(dict.fromkeys(SCP.get(code, f"aha:{code}") for code in codes))


def _id(text: str) -> str:
    if not re.fullmatch(r"A\d{5}", text, re.ASCII):
        raise ValueError(text)
    return text


PARSERS: dict[str, csv_table.Parser] = {
    "ECG_ID": _id,
    "Patient_ID": str,
    "AHA_Code": _labels,
    "Age": csv_table.optional(csv_table.age),
    "Sex": csv_table.optional({"M": "male", "F": "female"}.__getitem__),
    "N": int,
    "Date": csv_table.optional(datetime.datetime.fromisoformat),
}
"""Parser of each column that is read."""
