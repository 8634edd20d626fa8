"""recordings.csv: metadata that users give for the recordings in a folder of their own files.

One row per file. Only the column `file` is required.

| column | content |
| --- | --- |
| `file` | path in the folder, in the form that the data set's README describes |
| `patient` | any identifier; without it, each file counts as a patient of its own |
| `time` | date and time of the recording, 2024-01-31 or 2024-01-31T12:00:00 |
| `age` | age in years |
| `sex` | female or male |
| `labels` | codes separated by semicolons; the tasks use SCP-ECG statements |
| `split` | train, validation or test; without it, assigned by a keyed hash of the patient |
"""

import datetime
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ecgjax.errors import InputError
from tfds_builders.formats import csv_table
from tfds_builders.recording import privacy, splits
from tfds_builders.recording.recording import SPLITS, Recording

FILE = "recordings.csv"


def read(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Returns the parsed cells of each row by its file, or None if there is no recordings.csv.

    Raises:
      InputError: it is no table, lists a file twice, or has an invalid cell. The message does not
        quote the cell, which may identify a patient.
    """
    path = folder / FILE
    if not path.exists():
        return None
    remedy = "see tfds_builders/formats/recordings_csv.py for its form"
    listed: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(csv_table.read(path, ["file"], remedy), start=2):
        label = f"{path}: row {number}"
        cells = {column: _cell(row, column, label) for column in COLUMNS if column in row}
        file = cells.pop("file")
        if not (folder / file).parent.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{label}: a file outside the folder; put it there")
        if file in listed:
            raise InputError(f"{label}: a file that an earlier row lists; leave one of them out")
        listed[file] = cells
    return listed


def recordings(
    files: Iterable[str], listed: dict[str, dict[str, Any]] | None, key: bytes
) -> list[Recording]:
    """Returns the recordings of a folder, ordered by file name.

    Args:
      files: names of the files in the folder.
      listed: the result of `read`. Unless it is None, its files replace `files`.
      key: secret under which names are hashed and dates are shifted.
    """
    return [
        _recording(file, (listed or {}).get(file, {}), key)
        for file in sorted(files if listed is None else listed)
    ]


def _recording(file: str, cells: dict[str, Any], key: bytes) -> Recording:
    patient = cells.get("patient") or f"file {file}"
    return Recording(
        record_id=privacy.hash_file_name(file, key),
        source_patient_id=patient,
        split=cells.get("split") or splits.assign_split(patient, key),
        location=file,
        source_file=file,
        recorded_at=privacy.shift_date(cells.get("time"), patient, key),
        age=privacy.cap_age(cells.get("age")),
        sex=cells.get("sex"),
        labels=cells.get("labels", ()),
    )


def _cell(row: csv_table.Row, column: str, label: str) -> Any:
    parse, expected = COLUMNS[column]
    try:
        return parse(row[column].strip())
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{label}: column {column} is not {expected}; correct it") from error


def _file(text: str) -> str:
    path = Path(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise ValueError(text)
    return str(path)


def _choice(*words: str) -> csv_table.Parser:
    return csv_table.optional({word: word for word in words}.__getitem__)


def _labels(text: str) -> tuple[str, ...]:
    codes = [code.strip() for code in text.split(";") if code.strip()]
    if not all(re.fullmatch(r"[A-Za-z0-9_:/.()+-]{1,32}", code) for code in codes):
        raise ValueError(text)
    return tuple(dict.fromkeys(codes))


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=None)


class Column(NamedTuple):
    """The content of a column."""

    parse: csv_table.Parser
    expected: str
    """Description of a valid cell, for the error message."""


COLUMNS = {
    "file": Column(_file, "a path in the folder"),
    "patient": Column(str, "an identifier"),
    "time": Column(
        csv_table.optional(_time), "a date or a date and time such as 2024-01-31T12:00:00"
    ),
    "age": Column(csv_table.optional(csv_table.age), "an age in years"),
    "sex": Column(_choice("female", "male"), "female or male"),
    "labels": Column(_labels, "codes separated by semicolons"),
    "split": Column(_choice(*SPLITS), f"one of {', '.join(SPLITS)}"),
}
"""Columns that are read; all others are ignored."""
