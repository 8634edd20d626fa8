"""Files as carts and archives export them: GE MUSE XML, Philips Sierra XML, HL7 aECG, SCP-ECG, DICOM waveforms, EDF."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.conversion import builder
from tfds_builders.formats import recordings_csv, vendor
from tfds_builders.recording import leads, privacy, splits, windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, rates


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    BUILDER_CONFIGS = rates(100, 500)
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = None

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        source = self.source_folder("a place of your own")
        paths = [
            path.relative_to(source)
            for path in source.rglob("*")
            if path.is_symlink() or path.is_file()
        ]
        files = [
            str(path)
            for path in paths
            if path.name != recordings_csv.FILE and not path.name.startswith(".")
        ]
        if not files:
            raise InputError(f"{source}: no file in it; give the folder that holds the recordings")
        listed = recordings_csv.read(source)
        recordings = recordings_csv.recordings(files, listed, self.secret())
        return [window for recording in recordings for window in self._windows(recording, listed)]

    def _windows(self, recording: Recording, listed: dict | None) -> list[Recording]:
        assert self.source is not None
        try:
            found = vendor.read(self.source / recording.location)
        except RecordingError:
            return [
                dataclasses.replace(recording, location=(recording.location, 0))
            ]  # is rejected when it is read
        recording = _completed(
            recording, found, (listed or {}).get(recording.location, {}), self.secret()
        )
        samples = len(found.value_uv)
        return windows.each(
            recording, samples=samples, from_hz=found.rate_hz, config=self.builder_config
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        name, window = recording.location
        where, config = str(self.source / name), self.builder_config
        found = vendor.read(self.source / name)
        signal = leads.to_stored(found.value_uv, found.names, where)
        signal = windows.resample(signal, from_hz=found.rate_hz, to_hz=config.rate_hz, where=where)
        return {"signal": windows.cut(signal, window, config, where)}


def _completed(
    recording: Recording, found: vendor.VendorRecording, entry: dict, key: bytes
) -> Recording:
    """The recording with what its file says, where recordings.csv does not say it."""
    patient = entry.get("patient") or found.patient or recording.source_patient_id
    return dataclasses.replace(
        recording,
        source_patient_id=patient,
        split=entry.get("split") or splits.of_patient(patient, key),
        recorded_at=privacy.shifted(entry.get("time") or found.time, patient, key),
        age=privacy.age(found.age if entry.get("age") is None else entry["age"]),
        sex=entry.get("sex") or found.sex,
    )
