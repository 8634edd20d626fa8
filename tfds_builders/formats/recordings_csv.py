"""recordings.csv: metadata that users give for the recordings in a folder of their own files.

One row per file. Only the column `file` is required.

| column | content |
| --- | --- |
| `file` | path in the folder, with or without its ending |
| `patient` | any identifier; without it, each file counts as a patient of its own |
| `time` | date and time of the recording, 2024-01-31 or 2024-01-31T12:00:00 |
| `age` | age in years |
| `sex` | female or male |
| `labels` | codes separated by semicolons; the tasks use SCP-ECG statements |
| `split` | train, validation or test; without it, that of another row of the patient, or by hash |

Columns are found by known synonyms, too (table_columns.py), and cells are understood in the forms
that hospitals write (table_cells.py). `RecordingsTable.summary` accounts for each column and row.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.formats import csv_table, listed_files, table_cells, table_columns, table_names
from tfds_builders.formats.csv_table import Sheet
from tfds_builders.formats.recordings_table import KEPT, Cells, RecordingsTable, share_splits
from tfds_builders.formats.table_columns import Columns
from tfds_builders.recording import demographics, timestamps

REMEDY = "save it as CSV in UTF-8, with the columns file, patient, age, sex, labels, ..."
RESERVED = {"record_id", "patient_id", "recorded_at", "age", "sex", "split", "fold", "labels"}
RESERVED |= {"quality", "waveform_hash", "valid_samples", "sketch"}
"""Names of columns of records.parquet, which no column that is kept may have."""


def read(folder: Path, kept: Sequence[str] = ()) -> RecordingsTable:
    """Returns the table of a folder.

    Args:
      folder: the folder of the recordings.
      kept: names of further columns, whose cells become `Recording.extra`.

    Raises:
      InputError: there are two tables, or it is no table, lacks a column, lists a file twice, or
        has a cell that cannot be understood. The message does not quote the cell, which may
        identify a patient.
    """
    path = table_names.find(folder)
    if path is None:
        if kept:
            problem = f"{folder}: has no recordings.csv with the column {kept[0]}"
            raise InputError(f"{problem}; add the table, or leave --columns out")
        return RecordingsTable(folder, None, {"columns_used": {}, "columns_unused": []}, {}, [])
    sheet = csv_table.read_sheet(path, table_columns.is_known, REMEDY)
    columns = table_columns.find(sheet.header, path)
    kept_columns = [_find_kept(name, sheet.header, columns, path) for name in kept]
    rows: list[Cells] = [{"row": number, KEPT: {}} for number, _ in sheet.rows]
    warnings = list(_warn(sheet, columns))
    for meaning, positions in columns.used.items():
        texts = [_join([cells[position] for position in positions]) for _, cells in sheet.rows]
        warnings += _add_cells(rows, meaning, texts, path, sheet.header[positions[0]])
    for position in kept_columns:
        for row, (_, cells) in zip(rows, sheet.rows, strict=True):
            row[KEPT][sheet.header[position]] = cells[position].strip()
    if "patient" in columns.used:
        warnings += _warn_of_patients(rows)
        share_splits(rows, path)
    about = _describe(sheet, columns, kept_columns)
    return RecordingsTable(folder, path, about, _by_file(rows, path), warnings)


def _find_kept(name: str, header: Sequence[str], columns: Columns, path: Path) -> int:
    """Returns the position of a column that is kept on request."""
    wanted = table_columns.plain(name)
    exact = [position for position, other in enumerate(header) if other == name.strip()]
    found = exact or [
        position for position, other in enumerate(header) if table_columns.plain(other) == wanted
    ]
    if len(found) != 1:
        problem = f"{path}: has {len(found)} columns {name!r}"
        raise InputError(f"{problem}; name columns in --columns as row 1 does, each once")
    if found[0] not in columns.unused or header[found[0]] in RESERVED:
        problem = f"{path}: column {name!r} is read, or a column of records.parquet has its name"
        raise InputError(f"{problem}; leave it out of --columns, or rename it")
    return found[0]


def _join(texts: Sequence[str]) -> str:
    """Returns a cell; a day and a time of day in two cells become one text."""
    day, *clock = [text.strip() for text in texts]
    if not clock or demographics.is_missing(clock[0]):
        return day
    if timestamps.has_date(clock[0]):  # the day is in both cells
        return clock[0]
    return f"{re.sub('[ T]00:00(:00)?$', '', day)} {clock[0]}" if day else ""


def _add_cells(
    rows: list[Cells], meaning: str, texts: Sequence[str], path: Path, name: str
) -> list[str]:
    """Adds the parsed cells of a column to the rows, and returns warnings."""
    content = table_cells.CONTENTS[meaning] if meaning != "file" else _files(path)
    unknown: Counter[str] = Counter()
    for row, text, value in zip(rows, texts, table_cells.parse(content, texts), strict=True):
        if isinstance(value, Exception):
            problem = f"{path}: row {row['row']}: column {name!r} is not {content.expected}"
            raise InputError(problem) from value
        if value is table_cells.UNKNOWN:
            unknown[text.strip()] += 1
        else:
            row[meaning] = value
    if not unknown or not content.unknown:
        return []
    shown = sorted(text for text in unknown if len(text) <= content.shown)
    examples = f" ({', '.join(map(repr, shown))})" if shown else ""
    return [f"{unknown.total():,} cells of the column {name!r}{examples} {content.unknown}"]


def _files(path: Path) -> table_cells.Content:
    """Returns the content of the column of files, the only one whose cells may not be empty."""

    roots = (path.parent.as_posix(), path.parent.resolve().as_posix())

    def parse_file(text: str) -> str:
        return listed_files.clean(text, roots)

    expected = "a path in the folder; put the file into the folder and name it"
    return table_cells.Content(lambda count: parse_file, expected)


def _by_file(rows: list[Cells], path: Path) -> dict[str, Cells]:
    listed: dict[str, Cells] = {}
    for row in rows:
        file = row.pop("file")
        if file is None:
            problem = f"{path}: row {row['row']} names no file"
            raise InputError(f"{problem}; name it, or delete the row")
        if file in listed:
            problem = f"{path}: rows {listed[file]['row']} and {row['row']} name the same file"
            raise InputError(f"{problem}; leave one of them out")
        listed[file] = row
    return listed


def _warn(sheet: Sheet, columns: Columns) -> Iterator[str]:
    if sheet.encoding == "cp1252":
        yield "the table is not UTF-8 and was read as cp1252; save it in UTF-8 to be sure"
    if sheet.short_rows:
        problem = f"{sheet.short_rows:,} rows of the table have fewer cells than its header"
        yield f"{problem}; the absent ones count as empty"
    if "patient" not in columns.used:
        problem = "the table has no column patient (or patient_id, subject_id, mrn, ...)"
        yield f"{problem}: a recording whose file names no patient counts as one of its own"


def _warn_of_patients(rows: list[Cells]) -> Iterator[str]:
    nameless = sum(not row.get("patient") for row in rows)
    if nameless:
        problem = f"{nameless:,} rows have no identifier of a patient, or a placeholder such as X, "
        problem += "ANON or 0000"
        yield f"{problem}: a recording whose file names no patient either counts as one of its own"


def _describe(sheet: Sheet, columns: Columns, kept_columns: list[int]) -> dict[str, Any]:
    names = [name[:64] or f"(column {index + 1})" for index, name in enumerate(sheet.header)]
    meanings = dict.fromkeys(kept_columns, KEPT)
    for meaning, positions in columns.used.items():
        meanings |= dict.fromkeys(positions, meaning)
    return {
        "encoding": sheet.encoding,
        "delimiter": sheet.delimiter,
        "columns_used": {names[index]: meanings[index] for index in sorted(meanings)},
        "columns_unused": [names[index] for index in columns.unused if index not in meanings],
        "empty_rows": sheet.empty_rows,
    }
