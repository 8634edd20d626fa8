"""Anybody's WFDB records: all of a folder and the folders in it, with a table that says whose they are, if any."""

import functools

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.conversion import builder
from tfds_builders.formats import recordings_csv, wfdb
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
        headers = [str(path.relative_to(source).with_suffix("")) for path in source.rglob("*.hea")]
        if not headers:
            raise InputError(
                f"{source}: no WFDB header (*.hea) in it; give the folder that holds the records"
            )
        find = functools.partial(wfdb.find_windows, source, config=self.builder_config)
        recordings = recordings_csv.recordings(headers, recordings_csv.read(source), self.secret())
        return [
            window
            for recording in recordings
            for window in find(recording.location, functools.partial(_described, recording))
        ]

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        return {"signal": wfdb.read_window(self.source, recording, self.builder_config)}


def _described(recording: Recording, header: object) -> Recording:
    """The recording as listed: comments of a header are free text, and its date is often that of a conversion."""
    return recording
