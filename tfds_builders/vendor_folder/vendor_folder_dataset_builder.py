"""Vendors' files: GE MUSE, Philips, Mortara and HL7 aECG XML, SCP-ECG, DICOM, EDF, BDF and more."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.conversion import builder, shards
from tfds_builders.conversion.plan import Plan, Shard
from tfds_builders.formats import vendor
from tfds_builders.formats.recordings_table import Cells, share_splits
from tfds_builders.recording import identities, privacy, splits, windows
from tfds_builders.recording.recording import Recording
from tfds_builders.second_readers import vendor_files
from tfds_builders.second_readers.reading import Reading
from tfds_builders.vendor_folder.spool import Spool, SpooledFile, SpooledRecording

FEW_RECORDINGS = 10_000
"""Up to this number, this process writes the shards alone: what remains to be done takes about as
long as the start of worker processes."""


class Builder(builder.RecordingsBuilder):
    """Windows of all recordings in the vendor files of a folder."""

    _spool: Spool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_spool": self._spool}

    def find_recordings(self) -> list[Recording]:
        table = self.choice.read_table(self.source, self.builder_config.columns)
        found = [
            file
            for file in self.choice.find(self.source)
            if not table.path or file.path != table.path.name
        ]
        if not found:
            problem = f"{self.source}: no file in it"
            raise InputError(f"{problem}; give the folder that holds the recordings")
        content = self._read_files([file.path for file in found if not file.problem])
        places = {
            name: (file, number)
            for file, spooled in content.items()
            for number, name in enumerate(_names(file, spooled))
        }
        problems = {file.path: file.problem for file in found if file.problem}
        listed = table.recordings([*problems, *places], self.secret(), problems)
        facts = {
            name: self._facts(file, content[file], number) | _known(table.cells, name)
            for name, (file, number) in places.items()
        }
        share_splits(facts.values(), table.path)
        recordings = []
        for recording in listed:
            name = recording.location
            if name in places:
                file, number = places[name]
                spooled = content[file].recordings[number]
                recording = _complete(recording, facts[name], self.secret())
                recordings += self._windows(recording, file, number, spooled)
            else:
                recordings.append(recording)
        self.source_table = table
        return recordings

    def _read_files(self, files: Sequence[str]) -> dict[str, SpooledFile]:
        """Parses all files, `workers` at a time, unless an interrupted conversion has done so."""
        self._spool = Spool(
            self.source, self.builder_config, self._journals / "files", self._unfinished / "files"
        )
        content = self._spool.read_all(files, self.workers, self.progress)
        self.notes = Counter(note for file in content.values() for note in file.notes)
        return content

    def _windows(
        self, recording: Recording, file: str, number: int, spooled: SpooledRecording
    ) -> list[Recording]:
        recording = dataclasses.replace(
            recording,
            location=(file, number, spooled.flags),
            source_file=recording.location,
            problem=recording.problem or spooled.problem,
        )
        if recording.problem:
            return [recording]
        rate_hz = self.builder_config.rate_hz
        return windows.divide(
            recording, samples=spooled.samples, from_hz=rate_hz, config=self.builder_config
        )

    @functools.cached_property
    def _folder(self) -> Path:
        return self.source.resolve()

    def _facts(self, file: str, content: SpooledFile, number: int) -> Cells:
        """Returns what a file says, with itself as its patient if it names nobody."""
        patient = content.patient.strip()
        if privacy.is_placeholder(patient):
            patient = f"{identities.FILE}{self._folder}/{file}"
        return {
            "patient": patient,
            "time": content.recordings[number].recorded_at,
            "age": content.age,
            "sex": content.sex,
        }

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        (file, number, flags), window = recording.location
        config = self.builder_config
        origin = self.source / file
        signal = self._spool.signal(file, number) if self._spool else None
        if signal is None:  # on a machine that does not have the spool
            content = vendor.read(origin, config.lead_rule).recordings[number]
            signal, flags = content.to_stored(origin, config.rate_hz)
        return {"signal": windows.cut(signal, window, config, origin), "flags": flags}

    def read_again(self, recording: Recording) -> list[Reading]:
        (file, number, _), _ = recording.location
        return vendor_files.read(self.source / file, number)

    def _write_shards(self, plans: Sequence[Plan]) -> list[Shard]:
        local = isinstance(self.run, functools.partial) and self.run.func is shards.write_all
        if local and sum(len(plan.recordings) for plan in plans) <= FEW_RECORDINGS:
            self.run = functools.partial(shards.write_all, workers=1)
        return super()._write_shards(plans)


def _names(file: str, content: SpooledFile) -> list[str]:
    """Returns the names of a file's recordings: FILE, or FILE#0, FILE#1 and so on."""
    count = len(content.recordings)
    return [file] if count == 1 else [f"{file}#{number}" for number in range(count)]


def _known(cells: dict[str, Cells], name: str) -> Cells:
    """Returns the cells of a recording's row that are not empty; they take precedence."""
    return {meaning: cell for meaning, cell in cells.get(name, {}).items() if cell is not None}


def _complete(recording: Recording, facts: Cells, key: bytes) -> Recording:
    """Returns the recording with patient, split, time, age and sex."""
    patient = facts["patient"]
    return dataclasses.replace(
        recording,
        source_patient_id=patient,
        split=facts.get("split") or splits.assign_split(patient, key),
        recorded_at=privacy.shift_date(facts["time"], patient, key),
        age=privacy.cap_age(facts["age"]),
        sex=facts["sex"],
    )
