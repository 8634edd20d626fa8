"""Recordings of raw files, read without writing shards, in the form in which `prepare` stores them.

The builders find and read the recordings, and the checks, windows, flags and reasons to reject one
are those of `prepare`. Only questions of a whole data set are left out: duplicates, and rows of
recordings.csv that a recording may lack.
"""

import dataclasses
import functools
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.arrays import description
from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.conversion.table import patient_hash
from tfds_builders.formats.own_files import Choice
from tfds_builders.formats.source_folder import SourceFile
from tfds_builders.prepare import find_builder, find_config
from tfds_builders.raw_files.detection import ARRAYS, OWN, VENDOR, Part
from tfds_builders.raw_files.samples import Block, Chunk, Facts, Unit
from tfds_builders.raw_files.worker import read_all
from tfds_builders.recording import privacy
from tfds_builders.recording.recording import Recording, RecordingsConfig

CHUNK_BYTES = 25_000_000
"""Samples that are read and held at a time: 1,024 recordings of 10 s at 100 Hz."""
GROUP_FILES = 1000
GROUP_BYTES = 1 << 28
"""Vendors' files that are parsed before their recordings are read: this number and size at most."""
WINDOW = re.compile(r"-w(\d+)$")
"""End of the record id of a window."""
RECORD_ENDINGS = (".hea", ".dat", ".mat")
"""Usual endings of the files of a WFDB record."""


@dataclasses.dataclass(frozen=True)
class RawFiles:
    """Reader of raw files, with options of `prepare`."""

    rate_hz: float
    """Sampling rate of the model. Of the rates of a builder, the next one from it on is read."""
    options: Mapping[str, Any]
    """Changes of a builder's config; see `recording.options`."""
    scratch: Path
    """Folder for samples of vendors' files on their way; it is not kept."""
    key_file: Path | None = None
    """Key of the patients in own files; None: they have neither patient nor record id."""
    workers: int = 1
    """Vendors' files that are parsed at a time."""

    def units(self, part: Part, block: Block) -> list[Unit]:
        """Returns one of several equal blocks of the recordings of a part.

        Args:
          part: files of one builder.
          block: (number of the block from 0, number of blocks).

        Raises:
          InputError: the files, the table of recordings or an option cannot be used.
        """
        part = self._checked(part)
        if part.dataset.partition("/")[0] == VENDOR:
            files = _block(sorted(part.files or ()), block)
            groups = _groups(files, part.source)
            return [self._vendor_unit(part._replace(files=group)) for group in groups]
        builder = self._builder(part)
        recordings = _block(_find(builder), block)
        size = _chunk_size(builder.builder_config)
        starts = range(0, len(recordings), size)
        return [
            self._unit(builder, recordings[start : start + size], len(starts) > 1)
            for start in starts
        ]

    def _checked(self, part: Part) -> Part:
        """Rejects each file of arrays whose description cannot be used, beside those of others."""
        if part.dataset.partition("/")[0] != ARRAYS or part.files is None:
            return part
        _, config = self.config(part.dataset)
        try:
            description.read(part.source, config.lead_rule)
            return part
        except InputError as error:
            reason = getattr(error.__cause__, "reason", "format")
            files = (SourceFile(file.path, (reason, str(error))) for file in part.files)
            return Part(VENDOR, part.source, tuple(files))

    def _unit(
        self, builder: RecordingsBuilder, recordings: Sequence[Recording], in_processes: bool
    ) -> Unit:
        described = [
            [repr(recording.location), recording.problem, _state(builder.source, recording)]
            for recording in recordings
        ]
        about = [builder.name, builder.source_description, described]
        return Unit(
            len(recordings),
            _digest(about),
            lambda: iter([self._chunk(builder, recordings)]),
            in_processes,
        )

    def _vendor_unit(self, part: Part) -> Unit:
        files = part.files or ()
        states = [[file.path, file.problem, _stat(part.source / file.path)] for file in files]
        digest = _digest([part.dataset, str(part.source), states])
        return Unit(len(files), digest, functools.partial(self._vendor_chunks, part), False)

    def _vendor_chunks(self, part: Part) -> Iterator[Chunk]:
        builder = self._builder(part)
        recordings = _find(builder)
        size = _chunk_size(builder.builder_config)
        for start in range(0, len(recordings), size):
            yield self._chunk(builder, recordings[start : start + size])
        # A chunk that is still to be read parses its file again.
        builder.delete_unfinished()

    def _chunk(self, builder: RecordingsBuilder, recordings: Sequence[Recording]) -> Chunk:
        facts = [self._facts(builder, recording) for recording in recordings]
        named = [
            dataclasses.replace(recording, record_id=_name(fact, recording), source_patient_id="")
            for fact, recording in zip(facts, recordings, strict=True)
        ]
        read = functools.partial(read_all, builder, named)
        return Chunk(facts, builder.builder_config.rate_hz, read)

    def _builder(self, part: Part) -> RecordingsBuilder:
        builder_class, config = self.config(part.dataset)
        builder = builder_class(
            config=config, data_dir=self.scratch, source=part.source, workers=self.workers
        )
        builder.choice = Choice(part.files, self.key_file is not None, is_complete=False)
        if builder.patient_key is None:
            builder.patient_key = self._key(part.source)
        return builder

    def config(self, dataset: str) -> tuple[type[RecordingsBuilder], RecordingsConfig]:
        """Returns the config that was named, or the one that suits the model's rate."""
        name, _, config_name = dataset.partition("/")
        if not config_name:
            configs = find_builder(name).BUILDER_CONFIGS
            config_name = _suitable(configs, self.rate_hz).name
        return find_config(f"{name}/{config_name}", dict(self.options))

    def _key(self, source: Path) -> bytes:
        if self.key_file is None:
            return secrets.token_bytes(privacy.KEY_BYTES)  # ids made with it are not shown
        return privacy.read_key(self.key_file, apart_from=(source,))

    def _facts(self, builder: RecordingsBuilder, recording: Recording) -> Facts:
        file = _file(recording.location)
        name = recording.source_file.removeprefix(f"{file}#")
        window = WINDOW.search(recording.record_id)
        is_known = builder.name not in OWN or self.key_file is not None
        owner = patient_hash(recording.source_patient_id, builder.secret())
        return Facts(
            str(builder.source),
            file,
            name if name not in ("", recording.source_file) else None,
            int(window[1]) if window else None,
            recording.record_id if is_known else None,
            owner if is_known else None,
        )


def _find(builder: RecordingsBuilder) -> list[Recording]:
    """Returns the recordings of a builder; none if it has no files to choose from."""
    if builder.choice.files == ():
        return []
    return builder.find_recordings()


def _suitable(configs: Sequence[RecordingsConfig], rate_hz: float) -> RecordingsConfig:
    """Returns the config with the lowest rate that is not below the model's, or the highest."""
    enough = [config for config in configs if config.rate_hz >= rate_hz]
    if enough:
        return min(enough, key=lambda config: config.rate_hz)
    return max(configs, key=lambda config: config.rate_hz)


def _chunk_size(config: RecordingsConfig) -> int:
    return max(1, CHUNK_BYTES // (config.samples * len(LEADS) * 2))


def _block(items: Sequence[Any], block: Block) -> Sequence[Any]:
    index, count = block
    return items[index * len(items) // count : (index + 1) * len(items) // count]


def _groups(files: Sequence[SourceFile], source: Path) -> Iterator[tuple[SourceFile, ...]]:
    """Divides files into groups that are small in number and in size."""
    group: list[SourceFile] = []
    size = 0
    for file in files:
        file_bytes = (_stat(source / file.path) or (0,))[0]
        if group and (len(group) == GROUP_FILES or size + file_bytes > GROUP_BYTES):
            yield tuple(group)
            group = []
            size = 0
        group.append(file)
        size += file_bytes
    if group:
        yield tuple(group)


def _file(location: Any) -> str | None:
    """Returns the file in a recording's location, the first text in it."""
    while isinstance(location, tuple) and location:
        location = location[0]
    return location if isinstance(location, str) else None


def _name(facts: Facts, recording: Recording) -> str:
    """Returns a name for messages: the id of a public data set, or else the file."""
    if not recording.source_file:
        return recording.record_id
    return recording.source_file + (f" (window {facts.window})" if facts.window else "")


def _state(source: Path, recording: Recording) -> list[list[int] | None]:
    """Returns sizes and times of the files of a recording, which tell whether they have changed."""
    file = _file(recording.location)
    if file is None:
        return []
    found = _stat(source / file)
    return [found] if found else [_stat(source / f"{file}{end}") for end in RECORD_ENDINGS]


def _stat(path: Path) -> list[int] | None:
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns]


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
