"""CODE-15 %: 345,779 recordings of 233,770 patients in Minas Gerais, https://zenodo.org/records/4916206."""

import functools
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
from tfds_builders.recording.recording import Recording, RecordingsConfig, rates

URL = "https://zenodo.org/records/4916206"
TABLE = "exams.csv"
REMEDY = "replace the file by Zenodo's"
RATE_HZ = 400
UV_PER_UNIT = 1e3
LABELS = {
    "1dAVb": "1AVB",
    "RBBB": "code15:RBBB",
    "LBBB": "code15:LBBB",
    "SB": "SBRAD",
    "ST": "STACH",
    "AF": "AFIB",
    "normal_ecg": "NORM",
}
"""Label of a column; RBBB and LBBB do not say whether the block is complete."""


class Builder(builder.RecordingsBuilder):
    """Recordings of 10 s; those of 7 s are rejected or, in the config 100hz_7s, what all are cut to."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "CODE-15 % 1.0.0."}
    BUILDER_CONFIGS = [
        *rates(100, 400, 500),
        RecordingsConfig(
            name="100hz_7s", rate_hz=100, samples=700, description="The first 7 s at 100 Hz."
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/code15"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        source = self.source_folder(URL)
        rows = csv_table.read(source / TABLE, CELLS, REMEDY)
        recordings = [self._recording(row, source / TABLE) for row in rows]
        # In the order of the files, since a chunk of a file holds many recordings.
        return sorted(recordings, key=lambda recording: recording.location)

    def _recording(self, row: csv_table.Row, table: Path) -> Recording:
        where = f"{table}: exam_id {row['exam_id'][:20]}"
        cells = {
            column: csv_table.cell(row, column, parse, where, REMEDY)
            for column, parse in CELLS.items()
        }
        return Recording(
            record_id=cells["exam_id"],
            source_patient_id=cells["patient_id"],
            split=splits.of_patient(cells["patient_id"], self.secret()),
            location=(cells["trace_file"], self._index(cells["trace_file"], int(cells["exam_id"]))),
            age=cells["age"],
            sex="male" if cells["is_male"] else "female",
            labels=tuple(label for column, label in LABELS.items() if cells[column]),
        )

    def _index(self, file: str, exam: int) -> int:
        """Place of an exam in its file; -1 if it is not there, for which it will be rejected."""
        assert self.source is not None
        return _places(self.source / file).get(exam, -1)

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        file, index = recording.location
        where, config = f"{self.source / file}: exam {recording.record_id}", self.builder_config
        if index < 0:
            raise RecordingError("missing_file", f"{where} is not there; is the source complete?")
        signal_mv = _trim(
            hdf5.read(self.source / file, "tracings", index).astype(np.float64), where
        )
        signal = leads.to_stored(signal_mv * UV_PER_UNIT, LEADS, where)
        signal = windows.resample(signal, from_hz=RATE_HZ, to_hz=config.rate_hz, where=where)
        return {"signal": windows.cut(signal, 0, config, where)}


def _trim(signal: np.ndarray, where: str) -> np.ndarray:
    """Without the zeros by which Zenodo's files make all recordings 4096 samples long."""
    if signal.ndim != 2 or signal.shape[1] != len(LEADS):
        raise RecordingError(
            "format", f"{where}: shape {list(signal.shape)}, not [time, 12]; fetch the file again"
        )
    inside = np.flatnonzero(signal.any(axis=1))
    return signal[inside[0] : inside[-1] + 1] if len(inside) else signal[:0]


@functools.lru_cache(maxsize=64)
def _places(path: Path) -> dict[int, int]:
    """Place of each exam in a file; none if there is no such file."""
    try:
        return {exam: place for place, exam in enumerate(hdf5.read(path, "exam_id").tolist())}
    except RecordingError:
        return {}


def _file(text: str) -> str:
    if text not in {f"exams_part{number}.hdf5" for number in range(18)}:
        raise ValueError(text)
    return text


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


CELLS: dict[str, Callable[[str], Any]] = {
    "exam_id": lambda text: str(int(text)),
    "patient_id": lambda text: str(int(text)),
    "age": csv_table.if_given(csv_table.age),
    "is_male": _flag,
    "trace_file": _file,
    **dict.fromkeys(LABELS, _flag),
}
"""How the cells of a column that is used are read."""
