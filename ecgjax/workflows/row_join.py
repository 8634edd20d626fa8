"""Rows of a user's own table, joined to the recordings of a prepared data set."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError, counted
from ecgjax.train.runlog import console
from ecgjax.workflows.own_table import OwnTable
from ecgjax.workflows.recording_names import RecordingNames
from tfds_builders.formats import table_columns


@dataclasses.dataclass(frozen=True, eq=False)
class Joined:
    """Pairs of a row and a recording; the row of a patient may have many recordings."""

    table: OwnTable
    rows: np.ndarray
    """Position of the row of each pair, ascending, int [pair]."""
    recordings: np.ndarray
    """Number of the recording of each pair in the data set, int [pair]."""
    column: str
    """Name of the column by which the rows are joined."""
    kind: str
    """Content of the column: record ids, files or patients."""

    def print_summary(self, records: Records) -> None:
        """Prints how many rows have a recording and how many recordings have a row."""
        rows = len(self.table.rows)
        matched = len(np.unique(self.rows))
        found = len(np.unique(self.recordings))
        console.print(
            f"{self.table.path}: {matched:,} of {rows:,} rows match {found:,} of {len(records):,} "
            f"recordings by {self.kind} (column {self.column!r}); {counted(rows - matched, 'row')} "
            f"without a recording, {counted(len(records) - found, 'recording')} without a row"
        )


def join(
    records: Records, table: OwnTable, *, key: Path | None = None, column: str | None = None
) -> Joined:
    """Joins the rows of a table to the recordings that they are about.

    Args:
      records: the prepared data set.
      table: the user's table.
      key: the key file of `prepare --patient-key`, for files and patients of own files.
      column: the column that names the recordings. Default: the one that its name shows to be it;
        among several, the one with the most recordings; a column of patients only if none names a
        single recording; without such a name, one whose cells are as many different recordings.

    Raises:
      InputError: no column names recordings, or no row has a recording.
    """
    single, patients = ([column], [column]) if column else _candidates(table)
    if column and _meaning(column) == "patient":
        single = []
    names = RecordingNames(records, key)
    if not single and not patients:
        single = [name for name in table.header if _names_recordings(table.column(name), names)]
    for kind, columns, find in (
        ("record id or file", single, names.find),
        ("patient", patients, names.find_patients),
    ):
        found = {name: find(table.column(name)) for name in columns}
        best = max(found, key=lambda name: sum(map(bool, found[name])), default=None)
        if best and any(found[best]):
            pairs = [(row, number) for row, numbers in enumerate(found[best]) for number in numbers]
            rows, recordings = np.array(pairs).T
            return Joined(table, rows, recordings, best, kind)
    tried = list(dict.fromkeys([*single, *patients]))
    raise InputError(_explain(records, table, names, tried, key))


def _names_recordings(cells: Sequence[str], names: RecordingNames) -> bool:
    """Tells whether a column of any name holds recordings: different ones in most rows."""
    different = set(cells) - {""}
    if 2 * len(different) <= len(cells):
        return False
    return 2 * sum(map(bool, names.find(list(different)))) > len(cells)


def _explain(
    records: Records,
    table: OwnTable,
    names: RecordingNames,
    columns: Sequence[str],
    key: Path | None,
) -> str:
    """Returns the message for a table without a recording, with an example of each side."""
    if not columns:
        problem = (
            f"{table.path}: no column names recordings (it has {', '.join(table.header[:20])})"
        )
        return f"{problem}; name one record_id, file or patient, or give --target-id COLUMN"
    cells = [next(filter(None, table.column(name)), "(empty)")[:40] for name in columns]
    given = ", ".join(f"{name} {cell!r}" for name, cell in zip(columns, cells, strict=True))
    problem = (
        f"{table.path}: none of {len(table.rows):,} rows names a recording of {records.path}: it "
        f"has {given}, the data set {names.example!r}"
    )
    if key is None and names.is_own:
        return f"{problem}; give the key of prepare as --patient-key: it tells which file is which"
    if key and not names.has_files:
        return f"{problem}; no table beside {key} names its files: give the key of its conversion"
    return f"{problem}; write names as the data set has them, or give another column"


def _meaning(column: str) -> str | None:
    return table_columns.MEANINGS.get(table_columns.plain(column))


def _candidates(table: OwnTable) -> tuple[list[str], list[str]]:
    """Returns the columns that may name single recordings, and those that may name patients."""
    files = [name for name in table.header if _meaning(name) == "file"]
    ids = [name for name in table.header if table_columns.plain(name) in table_columns.RECORD_IDS]
    patients = [name for name in table.header if _meaning(name) == "patient"]
    return [*files, *ids], patients
