"""Vendors' files: GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, DICOM waveforms and EDF."""

import dataclasses
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from tfds_builders.conversion import builder
from tfds_builders.formats import recordings_csv, vendor
from tfds_builders.recording import privacy, splits, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s of all vendor files in a folder."""

    def find_recordings(self) -> list[Recording]:
        files = [
            str(path.relative_to(self.source))
            for path in self.source.rglob("*")
            if (path.is_symlink() or path.is_file())
            and path.name != recordings_csv.FILE
            and not path.name.startswith(".")
        ]
        if not files:
            problem = f"{self.source}: no file in it"
            raise InputError(f"{problem}; give the folder that holds the recordings")
        listed = recordings_csv.read(self.source)
        recordings = recordings_csv.recordings(files, listed, self.secret())
        return [
            window
            for recording in recordings
            for window in self._windows(recording, (listed or {}).get(recording.location, {}))
        ]

    def _windows(self, recording: Recording, row: dict[str, Any]) -> list[Recording]:
        try:
            content = vendor.read(self.source / recording.location)
        except RecordingError:  # rejected for the same reason when it is read
            return [dataclasses.replace(recording, location=(recording.location, 0))]
        return windows.divide(
            _complete(recording, content, row, self.secret()),
            samples=len(content.value_uv),
            from_hz=content.rate_hz,
            config=self.builder_config,
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        file, window = recording.location
        path = self.source / file
        content = vendor.read(path)
        signal = windows.convert(
            content.value_uv,
            content.names,
            from_hz=content.rate_hz,
            window=window,
            config=self.builder_config,
            origin=path,
        )
        return {"signal": signal}


def _complete(
    recording: Recording, content: vendor.VendorRecording, row: dict[str, Any], key: bytes
) -> Recording:
    """Adds the file's metadata to a recording; a value in recordings.csv takes precedence."""
    patient = row.get("patient") or content.patient or recording.source_patient_id
    age = row.get("age")
    return dataclasses.replace(
        recording,
        source_patient_id=patient,
        split=row.get("split") or splits.assign_split(patient, key),
        recorded_at=privacy.shift_date(row.get("time") or content.time, patient, key),
        age=privacy.cap_age(content.age if age is None else age),
        sex=row.get("sex") or content.sex,
    )
