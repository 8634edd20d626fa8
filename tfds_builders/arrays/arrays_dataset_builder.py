"""Arrays in files: NumPy (npy, npz), HDF5, Zarr or Parquet, with a small JSON that says what they hold."""

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.arrays import description, files
from tfds_builders.conversion import builder
from tfds_builders.formats import recordings_csv
from tfds_builders.recording import leads, windows
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
        about = description.read(source)
        samples = {
            name: count
            for file in files.find(source)
            for name, count in self._names(file, about).items()
        }
        if not samples:
            raise InputError(
                f"{source}: no file with one of the endings {', '.join(files.KINDS)}; give a folder with some"
            )
        config = self.builder_config
        return [
            window
            for recording in recordings_csv.recordings(
                samples, recordings_csv.read(source), self.secret()
            )
            for window in windows.each(
                recording,
                samples=samples.get(recording.location, 0),
                from_hz=about.rate_hz,
                config=config,
            )
        ]

    def _names(self, file: str, about: description.Description) -> dict[str, int]:
        """The samples of each recording: of FILE, or of FILE#0, FILE#1 and so on where a file may hold several."""
        assert self.source is not None
        several = "recording" in about.axes or file.endswith(".parquet")
        try:
            counts = files.lengths(self.source / file, about)
        except RecordingError:
            counts = [0]  # is rejected when it is read
        return {f"{file}#{index}" if several else file: count for index, count in enumerate(counts)}

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        name, window = recording.location
        file, _, index = name.partition("#")
        where, config, about = (
            f"{self.source / name}",
            self.builder_config,
            description.read(self.source),
        )
        value_uv = files.read(self.source / file, int(index or 0), about)
        signal = leads.to_stored(value_uv, about.leads, where)
        signal = windows.resample(signal, from_hz=about.rate_hz, to_hz=config.rate_hz, where=where)
        return {"signal": windows.cut(signal, window, config, where)}
