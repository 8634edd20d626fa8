"""Targets of recordings from the targets of rows, with an account of every row."""

import dataclasses

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.workflows.row_join import Joined


@dataclasses.dataclass(frozen=True, eq=False)
class Account:
    """Numbers of rows and of recordings by what became of them."""

    joined: Joined
    data: str
    """Name of the data set."""
    unmatched: list[int]
    """Positions of the rows without a recording."""
    unlabelled_rows: int
    repeated_rows: int
    """Rows that repeat what another row says of the same recordings."""
    recordings: int
    labelled: int
    without_row: int

    def lines(self) -> list[str]:
        """Returns the account as a short table."""
        table = self.joined.table
        rows = len(table.rows)
        example = ""
        if self.unmatched:
            cell = table.column(self.joined.column)[self.unmatched[0]][:40]
            example = f"such as row {table.numbers[self.unmatched[0]]} ({cell!r})"
        lines = [
            (
                f"{table.path.name}: rows",
                rows,
                f"joined by {self.joined.kind}: column {self.joined.column!r}",
            ),
            ("  with a recording", rows - len(self.unmatched), ""),
            ("  without a recording", len(self.unmatched), example),
            ("  without a label", self.unlabelled_rows, "empty, NA, -, unknown, ..."),
            ("  repeated", self.repeated_rows, "the same label of the same recording again"),
            (f"{self.data}: recordings", self.recordings, ""),
            ("  with a label", self.labelled, ""),
            ("  without a label", self.recordings - self.labelled - self.without_row, ""),
            ("  without a row", self.without_row, ""),
        ]
        width = max(len(name) for name, _, _ in lines) + 2
        return [
            f"{name:{width}}{number:>9,}{'   ' + note if note and number else ''}"
            for name, number, note in lines
        ]


def assign(joined: Joined, values: np.ndarray, records: Records) -> tuple[np.ndarray, Account]:
    """Gives every recording the targets of its rows.

    Args:
      joined: pairs of rows and recordings.
      values: targets of each pair, float32 [pair, output], with NaN where there is no label.
      records: the data set.

    Returns:
      Targets of all recordings, float32 [recording, output], NaN without a row, and the account.

    Raises:
      InputError: two rows give one recording different targets.
    """
    recordings, first = np.unique(joined.recordings, return_index=True)
    targets = np.full((len(records), values.shape[1]), np.nan, np.float32)
    targets[recordings] = values[first]
    source = np.zeros(len(records), int)
    source[recordings] = joined.rows[first]
    new = np.zeros(len(joined.rows), bool)
    new[first] = True
    for pair in np.flatnonzero(~new):
        number = joined.recordings[pair]
        known = targets[number]
        if (np.abs(known - values[pair]) > 0).any():  # comparisons with NaN are false
            _refuse(joined, records, int(number), int(source[number]), int(joined.rows[pair]))
        adds = np.isnan(known) & ~np.isnan(values[pair])
        new[pair] = adds.any()
        targets[number] = np.where(adds, values[pair], known)
    rows = len(joined.table.rows)
    has_label = np.zeros(rows, bool)
    has_label[joined.rows[~np.isnan(values).all(axis=1)]] = True
    is_new = np.zeros(rows, bool)
    is_new[joined.rows[new]] = True
    matched = np.zeros(rows, bool)
    matched[joined.rows] = True
    account = Account(
        joined,
        records.name,
        np.flatnonzero(~matched).tolist(),
        int((matched & ~has_label).sum()),
        int((has_label & ~is_new).sum()),
        len(records),
        int((~np.isnan(targets)).any(axis=1).sum()),
        len(records) - len(recordings),
    )
    return targets, account


def _refuse(joined: Joined, records: Records, number: int, first: int, second: int) -> None:
    table = joined.table
    pair = f"rows {table.numbers[first]} and {table.numbers[second]}"
    record_id = records.column("record_id")[number]
    remedy = "leave one of them out"
    if joined.kind == "patient":
        remedy = "give one row for each patient, or a column of record ids or files"
    problem = f"{pair} give recording {record_id} different labels"
    raise InputError(f"{table.path}: {problem} (joined by {joined.column!r}); {remedy}")
