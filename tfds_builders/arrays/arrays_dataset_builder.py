"""Arrays in files (NumPy, HDF5, MATLAB, Zarr or Parquet), described by a small JSON file."""

import numpy as np

from ecgjax.errors import InputError
from tfds_builders.arrays import description, files
from tfds_builders.conversion import builder
from tfds_builders.formats import recordings_csv
from tfds_builders.recording import windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s of arrays in a folder."""

    def find_recordings(self) -> list[Recording]:
        about = description.read(self.source)
        samples = {
            name: count
            for file in files.find(self.source)
            for name, count in self._lengths(file, about).items()
        }
        if not samples:
            problem = f"{self.source}: no file with one of the endings {', '.join(files.KINDS)}"
            raise InputError(f"{problem}; give a folder that holds some")
        listed = recordings_csv.read(self.source)
        return [
            window
            for recording in recordings_csv.recordings(samples, listed, self.secret())
            for window in windows.divide(
                recording,
                samples=samples.get(recording.location, 0),
                from_hz=about.rate_hz,
                config=self.builder_config,
            )
        ]

    def _lengths(self, file: str, about: description.Description) -> dict[str, int]:
        """Returns the samples of each recording by its name.

        The name is FILE, or FILE#0, FILE#1 and so on if a file may hold several recordings.
        """
        several = "recording" in about.axes or file.endswith(".parquet")
        try:
            counts = files.lengths(self.source / file, about)
        except RecordingError:
            counts = [0]  # rejected when it is read
        return {f"{file}#{index}" if several else file: count for index, count in enumerate(counts)}

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        name, window = recording.location
        file, _, index = name.partition("#")
        about = description.read(self.source)
        signal = windows.convert(
            files.read(self.source / file, int(index or 0), about),
            about.leads,
            from_hz=about.rate_hz,
            window=window,
            config=self.builder_config,
            origin=self.source / name,
        )
        return {"signal": signal}
