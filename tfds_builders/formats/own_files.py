"""The files of a user's folder that a builder reads: all of them, or those that were chosen."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path

from tfds_builders.formats import recordings_csv, source_folder
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


ALL = Choice()
