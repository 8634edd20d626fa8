"""The files of a user's folder that a builder reads: all of them, or those that were chosen."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from tfds_builders.formats import listed_files, recordings_csv, source_folder
from tfds_builders.formats.recordings_table import RecordingsTable
from tfds_builders.formats.source_folder import SourceFile


@dataclasses.dataclass(frozen=True)
class Choice:
    """Files of a folder, as their builder sees them."""

    files: tuple[SourceFile, ...] | None = None
    """The chosen files, in any order; None: all files of the folder."""
    use_table: bool = True
    """Read recordings.csv, if the folder has it."""
    is_complete: bool = True
    """The table lists every recording that is read: a row without a recording, and a recording
    without a row, are problems."""

    def find(
        self, source: Path, endings: Collection[str] | None = None, *, stores: Collection[str] = ()
    ) -> list[SourceFile]:
        """Returns the files of the folder that are read; arguments as of `source_folder.find`."""
        if self.files is None:
            return source_folder.find(source, endings, stores=stores)
        return sorted(self.files)

    def read_table(self, source: Path, columns: Sequence[str] = ()) -> RecordingsTable:
        """Returns the table of the folder, without rows if it is not read."""
        if not self.use_table:
            about = {"columns_used": {}, "columns_unused": []}
            return RecordingsTable(source, None, about, {}, [])
        table = recordings_csv.read(source, columns)
        table.is_complete = self.is_complete
        return table


def absent(folder: Path, found: Collection[SourceFile]) -> tuple[SourceFile, ...]:
    """Returns the files that recordings.csv names and its folder lacks, with this problem.

    Args:
      folder: the folder of the table.
      found: all files of the folder.
    """
    table = recordings_csv.read(folder)
    names = listed_files.match(listed_files.files(table.rows), [file.path for file in found])
    problem = f"{table.path} names it, but there is no such file; put it there, or delete its row"
    return tuple(
        SourceFile(name, ("missing_file", f"{folder / name}: {problem}"))
        for name in sorted(names)
        if not names[name]
    )


ALL = Choice()
