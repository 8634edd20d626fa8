"""SPH: 25,770 recordings of 24,666 patients of Shandong Provincial Hospital, doi:10.6084/m9.figshare.c.5779802."""

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.signals import LEADS
from tfds_builders.conversion import builder
from tfds_builders.formats import csv_table, hdf5
from tfds_builders.recording import leads, splits, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, rates

URL = "https://doi.org/10.6084/m9.figshare.c.5779802"
TABLE = "metadata.csv"
REMEDY = "replace the file by Figshare's"
RATE_HZ = 500
UV_PER_UNIT = 1e3
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
"""Primary statements of AHA/ACC/HRS (Mason et al. 2007) as SCP-ECG statements that say the same. The former have codes
of their own for incomplete bundle branch block, so that 104 and 106 are complete ones."""


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s of recordings of 10 to 60 s."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = rates(100, 500)
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/sph"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        table = self.source_folder(URL) / TABLE
        rows = csv_table.read(table, CELLS, REMEDY)
        return [window for row in rows for window in self._windows(row, table)]

    def _windows(self, row: csv_table.Row, table: Path) -> list[Recording]:
        where = f"{table}: ECG_ID {row['ECG_ID'][:20]}"
        cells = {
            column: csv_table.cell(row, column, parse, where, REMEDY)
            for column, parse in CELLS.items()
        }
        recording = Recording(
            record_id=cells["ECG_ID"],
            source_patient_id=cells["Patient_ID"],
            split=splits.of_patient(cells["Patient_ID"], self.secret()),
            location=f"records/{cells['ECG_ID']}.h5",
            recorded_at=cells["Date"],
            age=cells["Age"],
            sex=cells["Sex"],
            labels=cells["AHA_Code"],
        )
        return windows.each(
            recording, samples=cells["N"], from_hz=RATE_HZ, config=self.builder_config
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        file, index = recording.location
        path, config = self.source / file, self.builder_config
        signal_mv = hdf5.read(path, "ecg").astype(np.float64)
        if signal_mv.ndim != 2 or len(signal_mv) != len(LEADS):
            raise RecordingError(
                "format", f"{path}: shape {list(signal_mv.shape)}, not [12, time]; fetch it again"
            )
        signal = leads.to_stored(signal_mv.T * UV_PER_UNIT, LEADS, str(path))
        signal = windows.resample(signal, from_hz=RATE_HZ, to_hz=config.rate_hz, where=str(path))
        return {"signal": windows.cut(signal, index, config, str(path))}


def _labels(text: str) -> tuple[str, ...]:
    """Statements with semicolons between, each perhaps with modifiers after a +, which are not kept."""
    codes = [int(statement.split("+")[0]) for statement in text.split(";") if statement.strip()]
    return tuple(dict.fromkeys(SCP.get(code, f"aha:{code}") for code in codes))


def _id(text: str) -> str:
    if not re.fullmatch(r"A\d{5}", text, re.ASCII):
        raise ValueError(text)
    return text


CELLS: dict[str, Callable[[str], Any]] = {
    "ECG_ID": _id,
    "Patient_ID": str,
    "AHA_Code": _labels,
    "Age": csv_table.if_given(csv_table.age),
    "Sex": csv_table.if_given({"M": "male", "F": "female"}.__getitem__),
    "N": int,
    "Date": csv_table.if_given(datetime.datetime.fromisoformat),
}
"""How the cells of a column that is used are read."""
