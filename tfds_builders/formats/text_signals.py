"""Signals in text files: a row for each sample and a column for each lead, or the other way round.

Delimiter, decimal sign, header and a column of times are recognised. A cell that is no number, and
a row with more or fewer cells than the others, reject the file with the number of the line.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjax.signals import lead_name, unit_name
from tfds_builders.formats import text_grid, text_numbers, text_times
from tfds_builders.formats.text_grid import Line, Row
from tfds_builders.formats.text_numbers import is_missing, is_number
from tfds_builders.recording.quality import RecordingError

ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
LOOKED_AT = 100
"""Rows at the beginning in which header and delimiter are looked for."""
_NAME_AND_UNIT = re.compile(
    r"(?P<name>.*?)[\s_]*(?:[(\[]\s*(?P<unit>[^()\[\]]*?)\s*[)\]]|[\s_](?P<bare>[munµμ]?v))", re.I
)


@dataclasses.dataclass(frozen=True)
class Expected:
    """The content of the files as the user describes it."""

    leads: tuple[str, ...]
    """Names of the columns, for files without names of leads; may be empty if all have some."""
    units: str
    """V, mV, uV or nV."""
    rate_hz: float
    by_lead: bool = False
    """A row holds a lead instead of a sample."""
    lead_names: tuple[tuple[str, str], ...] = ()
    """(name in the source, lead) of names that `lead_name` does not know."""

    def is_own(self, name: str) -> bool:
        """Tells whether `lead_names` has a name."""
        return name.strip().casefold() in {own.strip().casefold() for own, _ in self.lead_names}

    def is_lead(self, name: str) -> bool:
        """Tells whether a name stands for a lead."""
        return self.is_own(name) or lead_name(name) is not None


class Signals(NamedTuple):
    """The columns of a file that are leads."""

    values: np.ndarray
    """float64 [time, column] in the units of the file, NaN for a missing sample."""
    names: tuple[str, ...]


class Extent(NamedTuple):
    """The length of a file, and what is left out of it."""

    samples: int
    notes: tuple[str, ...]


LEFT_OUT_TIMES = "text files with a column of times or sample numbers, which was left out"
LEFT_OUT_OTHERS = "text files with columns that are no leads, which were left out"


class _Column(NamedTuple):
    """A column of a file."""

    name: str = ""
    unit: str = ""
    """Unit as written; empty if unknown."""
    is_lead: bool = False


TIME = _Column("time")
"""A column without a name that increases."""


class _Table(NamedTuple):
    """A file that was divided into cells by one delimiter."""

    columns: tuple[_Column, ...]
    rows: list[Row]
    """The samples."""
    start: int = 0
    """Number of rows before the samples."""
    fit: int = 0
    """Number of cells looked at that are numbers; 0 without leads."""


def measure(path: Path, expected: Expected) -> Extent:
    """Returns the length of a file, and the kinds of columns that `read` leaves out.

    Raises:
      RecordingError: as in `read`, as far as it can be known without reading the numbers.
    """
    lines = text_grid.read_lines(path)
    table, _ = _choose(lines, path, expected)
    samples = len(table.rows)
    if not expected.by_lead:  # `table` has the first rows only
        samples = sum(not line.is_comment for line in lines[table.start :])
    others = [column for column in table.columns if not column.is_lead]
    times = [text_times.unit_s(column.name, column.unit) is not None for column in others]
    notes = (LEFT_OUT_TIMES,) * any(times) + (LEFT_OUT_OTHERS,) * (not all(times))
    return Extent(samples, notes)


def read(path: Path, expected: Expected) -> Signals:
    """Reads the leads of a file.

    Raises:
      RecordingError: the file is no text, too large or no table of numbers; its units or times
        contradict the description; or it has neither names of leads nor as many columns as leads.
    """
    table = _read_table(path, expected)
    cells = zip(*(row.cells for row in table.rows), strict=True)
    values = []
    for column, column_cells in zip(table.columns, cells, strict=True):
        if column.is_lead:
            _check_unit(column, expected, path)
            label = f"{path}: column {column.name}: {'cell' if expected.by_lead else 'line'}"
            values.append(text_numbers.convert(column_cells, table.rows, label))
        elif (unit_s := text_times.unit_s(column.name, column.unit)) is not None:
            text_times.check(column_cells, unit_s, expected.rate_hz, path)
    names = tuple(column.name for column in table.columns if column.is_lead)
    return Signals(np.stack(values, axis=1), names)


def _read_table(path: Path, expected: Expected) -> _Table:
    """Divides a file into cells and checks their number.

    Raises:
      RecordingError: no delimiter fits, or a line has another number of cells than the others.
    """
    lines = text_grid.read_lines(path)
    table, delimiter = _choose(lines, path, expected)
    rows = [text_grid.split(line, delimiter) for line in lines]
    if expected.by_lead:
        rows = [row for row in rows if not row.is_comment]
        text_grid.require_cells(rows, len(rows[0].cells), path)
        return table
    rows = [row for row in rows[table.start :] if not row.is_comment]
    text_grid.require_cells(rows, len(table.columns), path)
    return table._replace(rows=rows)


def _choose(lines: list[Line], path: Path, expected: Expected) -> tuple[_Table, str]:
    """Returns the first rows, or all rows of leads, by the delimiter that fits best; and that."""
    first = lines if expected.by_lead else lines[:LOOKED_AT]
    tables = [_divide(first, mark, expected) for mark in text_grid.DELIMITERS]
    fits = [(table.fit, 0 if table.fit else len(table.columns)) for table in tables]
    best = fits.index(max(fits))
    if not tables[best].fit:
        columns = len(tables[best].columns)
        found = f"{columns} columns without names of leads" if columns else "no table of numbers"
        problem = f"{path}: {found}; arrays.json names {len(expected.leads)} leads"
        remedy = "write the names of the leads above their columns, or leave the file out"
        raise RecordingError("format", f"{problem}; {remedy}")
    return tables[best], text_grid.DELIMITERS[best]


def _divide(lines: list[Line], delimiter: str, expected: Expected) -> _Table:
    """Divides lines into cells and finds out what the columns are."""
    rows = [text_grid.split(line, delimiter) for line in lines]
    if expected.by_lead:
        rows = text_grid.transpose([row for row in rows if not row.is_comment])
    header, start = _find_header(rows, expected)
    samples = [row for row in rows[start:] if not row.is_comment]
    if not samples:
        return _Table((), [])
    width, _ = Counter(len(row.cells) for row in samples).most_common(1)[0]
    by_column = [*zip(*(row.cells for row in samples if len(row.cells) == width), strict=True)]
    columns = _name_columns(header, by_column, expected)
    used = [
        cells
        for column, cells in zip(columns, by_column, strict=False)
        if column.is_lead or column == TIME
    ]
    any_lead = any(column.is_lead for column in columns)
    fit = any_lead and sum(is_number(cell) for cells in used for cell in cells[:LOOKED_AT])
    return _Table(columns, samples, start, fit)


def _find_header(rows: list[Row], expected: Expected) -> tuple[list[_Column] | None, int]:
    """Returns the named columns, if there are names, and the number of rows before the samples."""
    counts = [sum(_parse_name(cell, expected).is_lead for cell in row.cells) for row in rows]
    if any(counts):
        index = counts.index(max(counts))
    else:
        numeric = [index for index, row in enumerate(rows) if _is_numeric(row)]
        if not numeric:
            return None, len(rows)
        index = numeric[0] if _counts_columns(rows[numeric[0]]) else numeric[0] - 1
        if index < 0 or len(rows[index].cells) != len(rows[numeric[0]].cells):
            return None, numeric[0]
    columns = [_parse_name(cell, expected) for cell in rows[index].cells]
    units = rows[index + 1].cells if index + 1 < len(rows) else ()
    if not _are_units(units):
        return columns, index + 1
    units = [*units, *[""] * len(columns)]
    return [
        column._replace(unit=unit or column.unit)
        for column, unit in zip(columns, units, strict=False)
    ], index + 2


def _name_columns(
    header: list[_Column] | None, by_column: list[tuple[str, ...]], expected: Expected
) -> tuple[_Column, ...]:
    """Returns the columns of the samples, with the leads of the description if none is named."""
    empty_end = not any(by_column[-1])
    if header is None:
        columns = [_Column()] * len(by_column)
        places = [*range(len(columns))]
        if len(places) > len(expected.leads) and empty_end:  # a delimiter at the end of each line
            places.pop()
        if len(places) == len(expected.leads) + 1 and text_times.is_increasing(by_column[0]):
            columns[places.pop(0)] = TIME
    else:
        columns = [*header]
        if len(columns) == len(by_column) + 1 and not columns[-1].name:
            columns.pop()
        if len(columns) == len(by_column) - 1:  # R writes no name above the names of rows
            counts = text_times.is_increasing(by_column[0])
            if empty_end or counts or not all(map(is_number, by_column[0])):
                columns.insert(len(columns) if empty_end else 0, _Column())
        names = [text_times.unit_s(column.name, column.unit) for column in columns]
        places = [place for place, unit_s in enumerate(names) if unit_s is None]
    if not any(column.is_lead for column in columns) and len(places) == len(expected.leads):
        for place, lead in zip(places, expected.leads, strict=True):
            columns[place] = columns[place]._replace(name=lead, is_lead=True)
    return tuple(columns)


def _parse_name(cell: str, expected: Expected) -> _Column:
    """Divides a cell such as "I (mV)" into the name of a column and its unit."""
    match = _NAME_AND_UNIT.fullmatch(cell)
    if not match or expected.is_lead(cell) and not unit_name(match["unit"] or match["bare"] or ""):
        return _Column(cell, "", expected.is_lead(cell))
    name = cell if expected.is_own(cell) else match["name"]
    return _Column(name, match["unit"] or match["bare"] or "", expected.is_lead(name))


def _are_units(cells: Sequence[str]) -> bool:
    """Tells whether a row holds the units of the columns above their numbers."""
    return any(map(unit_name, cells)) and all(
        unit_name(cell) or text_times.is_unit(cell) for cell in cells
    )


def _is_numeric(row: Row) -> bool:
    return all(map(is_number, row.cells)) and not all(map(is_missing, row.cells))


def _counts_columns(row: Row) -> bool:
    """Tells whether a row has the numbers of the columns, which pandas writes above an array."""
    cells = [cell for cell in row.cells if cell]
    return len(cells) > 2 and cells in (
        [*map(str, range(len(cells)))],
        [*map(str, range(1, len(cells) + 1))],
    )


def _check_unit(column: _Column, expected: Expected, path: Path) -> None:
    if column.unit and unit_name(column.unit) != expected.units:
        unit = unit_name(column.unit) or "a unit that is no voltage"
        problem = f"{path}: column {column.name} is in {unit}, arrays.json says {expected.units}"
        raise RecordingError("units", f"{problem}; correct one of them")
