"""A task whose targets are columns of a user's table, or of the table of a data set."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ecgjax.data import files
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.train.runlog import console
from ecgjax.workflows.own_table import OwnTable, read_table
from ecgjax.workflows.own_targets import account, cells, kinds
from ecgjax.workflows.own_targets.kinds import Column, Encoding
from ecgjax.workflows.row_join import join
from tfds_builders.formats import table_columns

LISTED = 12
"""Number of classes that are printed with their counts."""


@dataclasses.dataclass(frozen=True)
class OwnTargets:
    """Targets of your own."""

    target: tuple[str, ...] = ()
    """Columns to predict, of --targets or (age, sex, ...) of the data set's own table: 0 and 1 or
    yes and no, several labels in a cell (; or |), one class of several, or a number."""
    targets: Path | None = None
    """Your table of targets: CSV, TSV or Parquet with a column of record ids, file names or
    patients. It may be newer than the data set."""
    target_id: str | None = None
    """Column of --targets that names the recordings or patients. Default: found by its name."""
    target_kind: Literal["labels", "classes", "numbers"] | None = None
    """Kind of the columns: labels (each present or absent), classes (exactly one of several) or
    numbers. Default: as their cells show."""

    def __post_init__(self):
        if len(set(self.target)) < len(self.target):
            raise InputError(f"--target {' '.join(self.target)}: give each column once")
        if self.target:
            return
        for option in ("targets", "target_id", "target_kind"):
            if getattr(self, option) is not None:
                given = f"--{option.replace('_', '-')} {getattr(self, option)}"
                raise InputError(f"{given}: name the columns to predict as --target COLUMN")


class OwnTask:
    """Targets from columns; obeys `ecgjax.evaluate.tasks.Task`.

    The first data set, that of training, determines kind and classes. In another one, a class that
    the first does not have is no label.

    Args:
      options: file and columns.
      records: the data set to train on.
      key: the key file of own files.

    Raises:
      InputError: the columns cannot be read, or no row has a recording.
    """

    def __init__(self, options: OwnTargets, records: Records, key: Path | None = None):
        self._options = options
        self._key = key
        self._table = read_table(options.targets) if options.targets else None
        self._found: dict[Path, np.ndarray] = {}
        self._encoding: Encoding | None = None
        self._targets(records)

    @property
    def name(self) -> str:
        """Names of the columns."""
        return "+".join(self._options.target)

    @property
    def description(self) -> str:
        """Columns and file."""
        origin = self._options.targets or "the table of the data set"
        return f"column {', '.join(self._options.target)} of {origin}"

    @property
    def outputs(self) -> Outputs:
        """Outputs of a head for this task."""
        encoding = self._known_encoding()
        return Outputs(self.name, encoding.kind, encoding.names)

    @property
    def is_single(self) -> bool:
        """Returns True for one label that is present or absent."""
        return self.outputs.kind == "labels" and len(self.outputs) == 1

    def targets(self, records: Any, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns targets and the recordings with a label; see `Task`."""
        targets = self._targets(records)[indices]
        return targets, np.any(~np.isnan(targets), axis=1)

    def _targets(self, records: Records) -> np.ndarray:
        """Returns the targets of all recordings of a data set; prints an account the first time."""
        if records.path not in self._found:
            if self._table is None:
                targets = self._encode(_own_columns(records, self._options.target))
                lines = [f"{self.description}: {records.name}"]
            else:
                targets, lines = self._join(self._table, records)
            self._found[records.path] = targets
            console.print("\n".join([*lines, *self._describe(targets)]), markup=False)
        return self._found[records.path]

    def _join(self, table: OwnTable, records: Records) -> tuple[np.ndarray, list[str]]:
        """Returns the targets of all recordings and the account of the table."""
        names = [table.find_column(name) for name in self._options.target]
        id_column = self._options.target_id and table.find_column(self._options.target_id)
        joined = join(records, table, key=self._key, column=id_column)
        numbers = [table.numbers[row] for row in joined.rows]
        columns = []
        for name in names:
            texts = [cells.tidy(text) for text in table.column(name)]
            columns.append(Column(table.path, name, [texts[row] for row in joined.rows], numbers))
        targets, rows = account.assign(joined, self._encode(columns), records)
        return targets, rows.lines()

    def _encode(self, columns: Sequence[Column]) -> np.ndarray:
        if self._encoding is None:
            _refuse_identifiers(columns)
            self._encoding = kinds.infer(columns, self._options.target_kind)
            targets = self._encoding.encode(columns)
            _refuse_one_value(columns, targets)
            return targets
        return self._encoding.encode(columns)

    def _known_encoding(self) -> Encoding:
        assert self._encoding is not None, "set by the first data set"
        return self._encoding

    def _describe(self, targets: np.ndarray) -> list[str]:
        """Returns kind and values of the targets as text."""
        encoding = self._known_encoding()
        known = (~np.isnan(targets)).sum(axis=0)
        if encoding.kind == "numbers":
            lines = []
            for name, column, number in zip(encoding.names, targets.T, known, strict=True):
                values = column[~np.isnan(column)].astype(np.float64)
                spread = f"mean {values.mean():.4g}, from {values.min():.4g} to {values.max():.4g}"
                lines.append(f"{name}: {number:,} numbers{', ' + spread if number else ''}")
            return lines
        cases = np.nansum(targets, axis=0).astype(int)
        counts = [
            f"{name} {case:,}" + (f" of {number:,}" if encoding.form == "truth" else "")
            for name, case, number in zip(encoding.names, cases, known, strict=True)
        ]
        rest = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
        are_numbers = all(cells.parse_number(name) is not None for name in encoding.names)
        hint = " (--target-kind numbers if they are quantities)" if are_numbers else ""
        return [f"{encoding.kind}: {', '.join(counts[:LISTED])}{rest}{hint}"]


def _own_columns(records: Records, names: Sequence[str]) -> list[Column]:
    """Returns columns of the table of a data set.

    Raises:
      InputError: there is no such column.
    """
    known = records.table.column_names
    path = records.path / files.TABLE
    columns = []
    for name in names:
        if name not in known:
            problem = f"{path}: has no column {name!r}; it has {', '.join(known)}"
            raise InputError(f"{problem}; give your table as --targets FILE")
        values = records.column(name).to_pylist()
        texts = [cells.tidy(_text(value)) for value in values]
        columns.append(Column(path, name, texts, list(range(1, len(texts) + 1))))
    return columns


def _refuse_identifiers(columns: Sequence[Column]) -> None:
    """Raises InputError for a column that names recordings or patients."""
    for column in columns:
        plain = table_columns.plain(column.name)
        meaning = table_columns.MEANINGS.get(plain)
        if meaning in ("file", "patient") or plain in table_columns.RECORD_IDS:
            problem = f"{column.path}: column {column.name!r} names recordings or patients"
            raise InputError(f"{problem}; give a column of labels or numbers as --target")


def _refuse_one_value(columns: Sequence[Column], targets: np.ndarray) -> None:
    """Raises InputError if all recordings with a label have the same one."""
    known = targets[~np.isnan(targets).all(axis=1)]
    if (np.nanmin(known, axis=0) == np.nanmax(known, axis=0)).all():
        names = ", ".join(repr(column.name) for column in columns)
        problem = f"{columns[0].path}: column {names} has one value in all {len(known):,} rows"
        raise InputError(f"{problem} with a label; give a column with at least two")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
