"""The rows of a table of recordings, and the recordings of a folder with what their rows say."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.formats import listed_files, table_names
from tfds_builders.recording import identities, privacy, splits
from tfds_builders.recording.recording import Recording

KEPT = "kept"
Cells = dict[str, Any]
"""Parsed cells of a row by the meaning of their columns; `KEPT` has those kept on request."""


@dataclasses.dataclass
class RecordingsTable:
    """The rows of recordings.csv, or no row if the folder has no such table."""

    folder: Path
    path: Path | None
    about: dict[str, Any]
    """Form of the table, use of its columns, and number of empty rows."""
    rows: dict[str, Cells]
    """Cells by the file that a row names; "row" is the number of the row in the table."""
    warnings: list[str]
    is_complete: bool = True
    """A row without a recording, and a recording without a row, are problems."""
    cells: dict[str, Cells] = dataclasses.field(default_factory=dict)
    """Cells by the name of the recording; known after `recordings`, like the following."""
    missing: set[str] = dataclasses.field(default_factory=set)
    """Files that rows name and that do not exist."""
    unlisted: set[str] = dataclasses.field(default_factory=set)
    """Recordings without a row in an existing table."""

    def recordings(
        self,
        files: Iterable[str],
        key: bytes,
        problems: Mapping[str, tuple[str, str]] | None = None,
    ) -> list[Recording]:
        """Returns the recordings of the folder, ordered by file name.

        A row without a recording is one with the problem `missing_file`, and a recording without a
        row in an existing table has the problem `unlisted`; neither needs to be read.

        Args:
          files: names of the recordings in the folder, FILE or FILE#0, FILE#1 and so on.
          key: secret under which names are hashed and dates are shifted.
          problems: (reason, message) of recordings that are known to be rejected, by name.

        Raises:
          InputError: two rows name one recording, or one row names several files.
        """
        files = [file for file in files if self.path is None or file != self.path.name]
        self.warnings += table_names.find_others(self.folder, self.path, files)
        self.cells = self._match(files)
        if not self.is_complete:
            self.cells = {file: self.cells[file] for file in files if file in self.cells}
        self.unlisted = set(files) - set(self.cells) if self.path and self.is_complete else set()
        self.missing = set(self.cells) - set(files)
        problems = {**self._problems(), **(problems or {})}
        # With the folder, since two folders may have files of the same names.
        root = str(self.folder.resolve())
        return [
            _recording(file, root, self.cells.get(file, {}), key, problems.get(file))
            for file in sorted({*files, *self.cells})
        ]

    def _match(self, files: Sequence[str]) -> dict[str, Cells]:
        """Returns the cells of each recording, and of each row that has none by its own name."""
        found: dict[str, Cells] = {}
        for listed, names in listed_files.match(self.rows, files).items():
            cells = self.rows[listed]
            if len(listed_files.files(names)) > 1:
                problem = f"{self.path}: row {cells['row']} names {len(names)} files"
                raise InputError(f"{problem} that differ in ending or case; name one exactly")
            for name in names or [listed]:
                if name in found:
                    problem = f"{self.path}: rows {found[name]['row']} and {cells['row']}"
                    raise InputError(f"{problem} name the same file; leave one of them out")
                found[name] = cells
        return found

    def _problems(self) -> dict[str, tuple[str, str]]:
        missing = f"a row of {self.path} names it, but there is no such recording"
        unlisted = f"no row of {self.path} names it"
        absent = {
            file: ("missing_file", f"{self.folder / file}: {missing}; complete the source")
            for file in self.missing
        }
        return absent | {
            file: ("unlisted", f"{self.folder / file}: {unlisted}; add a row")
            for file in self.unlisted
        }

    def summary(self) -> dict[str, Any]:
        """Returns the account of every column and row, for report.json."""
        return {
            "file": self.path.name if self.path else None,
            **self.about,
            "rows": len(self.rows),
            "rows_without_recording": len(self.missing),
            "recordings_without_row": len(self.unlisted),
            "warnings": self.warnings,
        }


def share_splits(rows: Iterable[Cells], path: Path | None) -> None:
    """Gives each row of a patient the split that another row of the same patient names.

    Args:
      rows: cells with "row", "patient" and "split", as far as they are known; changed in place.
      path: the table, for the error message.

    Raises:
      InputError: two rows of a patient name two splits.
    """
    rows = [row for row in rows if row.get("patient")]
    named: dict[str, Cells] = {}
    for row in rows:
        first = named.setdefault(row["patient"], row) if row.get("split") else row
        if first.get("split") != row.get("split"):
            problem = f"{path}: rows {first['row']} and {row['row']} are of the same patient, in "
            problem += f"split {first['split']} and {row['split']}"
            raise InputError(f"{problem}; give all recordings of a patient the same split")
    for row in rows:
        row["split"] = named.get(row["patient"], row).get("split")


def _recording(
    file: str, root: str, cells: Cells, key: bytes, problem: tuple[str, str] | None
) -> Recording:
    identity = f"{root}/{file}"
    patient = cells.get("patient") or f"{identities.FILE}{identity}"
    kept = dict(cells.get(KEPT, ()))
    return Recording(
        record_id=privacy.hash_file_name(identity, key),
        source_patient_id=patient,
        split=cells.get("split") or splits.assign_split(patient, key),
        location=file,
        source_file=file,
        recorded_at=privacy.shift_date(cells.get("time"), patient, key),
        age=privacy.cap_age(cells.get("age")),
        sex=cells.get("sex"),
        site=kept.pop("site", None),
        device=kept.pop("device", None),
        labels=cells.get("labels") or (),
        extra=tuple(kept.items()),
        problem=problem,
    )
