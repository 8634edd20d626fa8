"""Arrays in files (NumPy, HDF5, MATLAB, Zarr, Parquet or text), described by a small JSON file."""

import dataclasses
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import UV_PER_UNIT
from tfds_builders.arrays import description, files
from tfds_builders.arrays.description import Description
from tfds_builders.arrays.files import Place
from tfds_builders.conversion import builder
from tfds_builders.formats.source_folder import SourceFile
from tfds_builders.recording import windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording
from tfds_builders.second_readers import array_files
from tfds_builders.second_readers.reading import Reading

NO_RECORDING = re.compile(r"(readme|licen[cs]e|changelog)\b.*", re.I)
"""Names of text files that people put beside their data."""
NAMED_README = "files named README, LICENSE or CHANGELOG, which are no recordings"
NO_LEAD = "names in arrays.json that stand for no lead, whose channels were left out"


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s of arrays in a folder."""

    def find_recordings(self) -> list[Recording]:
        config = self.builder_config
        about = description.read(self.source, config.lead_rule)
        self.source_description = repr(about)
        self.source_table = self.choice.read_table(self.source, config.columns)
        table = self.source_table.path
        found = [
            file
            for file in self.choice.find(self.source, files.ENDINGS, stores=files.STORES)
            if file.path != (table and table.name)
        ]
        recordings = [file for file in found if not _is_readme(file)]
        if not recordings:
            problem = f"{self.source}: no file with one of the endings {', '.join(files.ENDINGS)}"
            raise InputError(f"{problem}; give a folder that holds some")
        places, problems = self._find_places(recordings, about)
        notes = Counter(note for _, place in places.values() for note in place.notes)
        notes[NAMED_README] = len(found) - len(recordings)
        expected = files.expected(about, config.lead_rule)
        notes[NO_LEAD] = sum(not expected.is_lead(name) for name in about.leads)
        self.notes = {note: count for note, count in notes.items() if count}
        return [
            window
            for recording in self.source_table.recordings(places, self.secret(), problems)
            for window in self._divide(recording, places, about)
        ]

    def _find_places(
        self, found: list[SourceFile], about: Description
    ) -> tuple[dict[str, tuple[str, Place]], dict[str, tuple[str, str]]]:
        """Returns file and place of each recording by its name, FILE or FILE#NAME; and problems.

        A file that cannot be read counts as one recording with a problem.
        """
        places: dict[str, tuple[str, Place]] = {}
        problems: dict[str, tuple[str, str]] = {}
        for file in found:
            try:
                if file.problem:
                    raise RecordingError(*file.problem)
                path = self.source / file.path
                in_file = files.find(path, about, self.builder_config.lead_rule)
            except RecordingError as error:
                places[file.path] = file.path, Place(0)
                problems[file.path] = error.reason, str(error)
                continue
            for name, place in in_file.items():
                places[f"{file.path}#{name}" if name else file.path] = file.path, place
        return places, problems

    def _divide(
        self, recording: Recording, places: dict[str, tuple[str, Place]], about: Description
    ) -> list[Recording]:
        file, place = places.get(recording.location, (recording.location, Place(0)))
        return windows.divide(
            dataclasses.replace(recording, location=(file, place)),
            samples=place.samples,
            from_hz=about.rate_hz,
            config=self.builder_config,
        )

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        (file, place), window = recording.location
        config = self.builder_config
        about = description.read(self.source, config.lead_rule)
        signals = files.read(self.source / file, place, about, config.lead_rule)
        return windows.convert(
            signals.value_uv,
            signals.names,
            from_hz=about.rate_hz,
            window=window,
            config=config,
            origin=self.source / file,
        )

    def read_again(self, recording: Recording) -> list[Reading]:
        (file, place), _ = recording.location
        about = description.read(self.source, self.builder_config.lead_rule)
        found = array_files.Place(place.array, place.index, about.axes, about.leads)
        again = array_files.read(self.source / file, found)
        numbers = np.where(again.numbers == about.missing, np.nan, again.numbers)
        value_uv = numbers * about.scale * UV_PER_UNIT[about.units]
        return [Reading(again.reader, again.names, value_uv, about.rate_hz)]


def _is_readme(file: SourceFile) -> bool:
    return NO_RECORDING.fullmatch(PurePosixPath(file.path).name) is not None
