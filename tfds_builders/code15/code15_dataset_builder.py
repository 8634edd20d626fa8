"""CODE-15 %: 345,779 recordings of 233,770 patients in Minas Gerais.

https://zenodo.org/records/4916206
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.signals import LEADS, UV_PER_UNIT
from tfds_builders.conversion import builder
from tfds_builders.formats import csv_table, hdf5
from tfds_builders.recording import splits, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig, rates
from tfds_builders.second_readers import array_files
from tfds_builders.second_readers.reading import Reading

TABLE = "exams.csv"
REMEDY = "replace the file by Zenodo's"
RATE_HZ = 400
SAMPLES = 4096
"""Length of every exam in the files, zeros before and after it included."""
ABSENT = -1
"""Index of an exam that is not in its file."""
LABELS = {
    "1dAVb": "1AVB",
    "RBBB": "code15:RBBB",
    "LBBB": "code15:LBBB",
    "SB": "SBRAD",
    "ST": "STACH",
    "AF": "AFIB",
    "normal_ecg": "NORM",
}
"""Label by column. RBBB and LBBB do not specify whether the block is complete."""


class Builder(builder.RecordingsBuilder):
    """Recordings of 10 s. Those of 7 s are rejected, except in the config 100hz_7s."""

    RELEASE_NOTES = {"2.0.0": "CODE-15 % 1.0.0."}
    BUILDER_CONFIGS = [
        *rates(100, 400, 500),
        RecordingsConfig(
            name="100hz_7s", rate_hz=100, samples=700, description="The first 7 s at 100 Hz."
        ),
    ]
    url = "https://zenodo.org/records/4916206"
    patient_key = b"ecgjax/code15"

    def find_recordings(self) -> list[Recording]:
        rows = csv_table.read_cells(self.source / TABLE, PARSERS, REMEDY)
        # In the order of the files, since a chunk of a file holds many recordings.
        exams = sorted(map(self._describe, rows), key=lambda recording: recording.location)
        return [
            window
            for exam in exams
            for window in windows.divide(
                exam, samples=SAMPLES, from_hz=RATE_HZ, config=self.builder_config
            )
        ]

    def _describe(self, cells: dict[str, Any]) -> Recording:
        file = cells["trace_file"]
        index = _indices(self.source / file).get(int(cells["exam_id"]), ABSENT)
        return Recording(
            record_id=cells["exam_id"],
            source_patient_id=cells["patient_id"],
            split=splits.assign_split(cells["patient_id"], self.secret()),
            location=(file, index),
            age=cells["age"],
            sex="male" if cells["is_male"] else "female",
            labels=tuple(label for column, label in LABELS.items() if cells[column]),
        )

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        (file, index), window = recording.location
        path = self.source / file
        origin = f"{path}: exam {recording.record_id}"
        if index == ABSENT:
            raise RecordingError(
                "missing_file", f"{origin} is not in the file; is the source complete?"
            )
        signal_mv = hdf5.read(path, "tracings", index).astype(np.float64)
        return windows.convert(
            _without_padding(signal_mv, origin) * UV_PER_UNIT["mV"],
            LEADS,
            from_hz=RATE_HZ,
            window=window,
            config=self.builder_config,
            origin=origin,
        )

    def read_again(self, recording: Recording) -> list[Reading]:
        (file, index), _ = recording.location
        place = array_files.Place("tracings", index, ("recording", "time", "lead"), LEADS)
        again = array_files.read(self.source / file, place)
        recorded = np.flatnonzero(again.numbers.any(axis=1))
        signal_mv = again.numbers[recorded[0] : recorded[-1] + 1]
        return [Reading(again.reader, LEADS, signal_mv * UV_PER_UNIT["mV"], RATE_HZ)]


def _without_padding(signal: np.ndarray, origin: str) -> np.ndarray:
    """Removes the zeros by which Zenodo's files make all recordings 4096 samples long."""
    if signal.ndim != 2 or signal.shape[1] != len(LEADS):
        problem = f"{origin}: shape {list(signal.shape)}, not [time, 12]"
        raise RecordingError("format", f"{problem}; fetch the file again")
    nonzero = np.flatnonzero(signal.any(axis=1))
    return signal[nonzero[0] : nonzero[-1] + 1] if len(nonzero) else signal[:0]


@functools.lru_cache(maxsize=64)
def _indices(path: Path) -> dict[int, int]:
    """Returns the index of each exam in a file; an empty dict if the file cannot be read."""
    try:
        return {exam: index for index, exam in enumerate(hdf5.read(path, "exam_id").tolist())}
    except RecordingError:
        return {}


def _file(text: str) -> str:
    if text not in {f"exams_part{number}.hdf5" for number in range(18)}:
        raise ValueError(text)
    return text


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


PARSERS: dict[str, csv_table.Parser] = {
    "exam_id": lambda text: str(int(text)),
    "patient_id": lambda text: str(int(text)),
    "age": csv_table.optional(csv_table.age),
    "is_male": _flag,
    "trace_file": _file,
    **dict.fromkeys(LABELS, _flag),
}
"""Parser of each column that is read."""
