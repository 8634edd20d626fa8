"""A user's own WFDB records: all records of a folder and its subfolders."""

from pathlib import Path, PurePosixPath

from ecgjax.errors import InputError
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import source_folder, wfdb, wfdb_header
from tfds_builders.formats.source_folder import SourceFile
from tfds_builders.formats.wfdb import Extent
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording

SIGNALS = ".dat"
"""Usual ending of signal files."""


class Builder(WfdbBuilder):
    """Windows of 10 s of all WFDB records in a folder."""

    def find_recordings(self) -> list[Recording]:
        files = self.choice.find(self.source, [wfdb.ENDING, SIGNALS])
        if not any(source_folder.has_ending(file.path, [wfdb.ENDING]) for file in files):
            problem = f"{self.source}: no WFDB header (*.hea) in it"
            remedy = "give the folder that holds the records; unpack archives, and replace links"
            raise InputError(f"{problem}; {remedy} that lead out of it by the files themselves")
        records = _by_name(_without_named_signals(files, self.source))
        config = self.builder_config
        # Nothing but the length is taken from a header: its comments are free text, and its date is
        # often the date of a conversion.
        extents = {
            record: Extent() if file.problem else wfdb.read_extent(self.source, record, config)
            for record, file in records.items()
        }
        segments = _segments(extents)
        extents = {name: found for name, found in extents.items() if name not in segments}
        self.source_table = self.choice.read_table(self.source, config.columns)
        problems = {name: file.problem for name, file in records.items() if file.problem}
        return [
            window
            for recording in self.source_table.recordings(extents, self.secret(), problems)
            for window in wfdb.divide(
                recording, extents.get(recording.location, Extent()), self.builder_config
            )
        ]


def _without_named_signals(files: list[SourceFile], source: Path) -> list[SourceFile]:
    """Returns the files without signal files that a header names; others have a problem."""
    is_signal = [source_folder.has_ending(file.path, [SIGNALS]) for file in files]
    others = [file for file, drop in zip(files, is_signal, strict=True) if not drop]
    headers = [file.path for file in others if source_folder.has_ending(file.path, [wfdb.ENDING])]
    names = {header[: -len(wfdb.ENDING)].casefold() for header in headers}
    orphans = [
        file
        for file, keep in zip(files, is_signal, strict=True)
        if keep and file.path[: -len(SIGNALS)].casefold() not in names
    ]
    named = {
        _real(source / header, name, source)
        for header in (headers if orphans else ())
        for name in wfdb_header.signal_files(source / header, source)
    }
    message = "a signal file that no header names; add its header, or leave it out"
    return others + [
        SourceFile(file.path, ("header", f"{source / file.path}: {message}"))
        for file in orphans
        if (source / file.path).resolve() not in named
    ]


def _real(header: Path, name: str, source: Path) -> Path | None:
    """Returns the path, without links, of a file that a header names; None if it has none."""
    try:
        return source_folder.locate(header.with_name(name), source).resolve()
    except (ValueError, RecordingError):
        return None


def _by_name(files: list[SourceFile]) -> dict[str, SourceFile]:
    """Returns the headers by the name of their record, which is the path without its ending.

    Of two headers whose endings differ in case only, one has its ending in the name.
    """
    records: dict[str, SourceFile] = {}
    for file in sorted(files, key=lambda file: not file.path.endswith(wfdb.ENDING)):
        is_header = source_folder.has_ending(file.path, [wfdb.ENDING])
        name = file.path[: -len(wfdb.ENDING)] if is_header else file.path
        records[file.path if name in records else name] = file
    return records


def _segments(extents: dict[str, Extent]) -> set[str]:
    """Returns the records that are segments of others."""
    by_plain_name = {name.casefold(): name for name, found in extents.items() if not found.segments}
    segments = {
        str(PurePosixPath(name).with_name(segment)).casefold()
        for name, found in extents.items()
        for segment in found.segments
        if segment and "/" not in segment and segment != "."
    }
    return {by_plain_name[segment] for segment in segments if segment in by_plain_name}
