"""recordings.csv: what the owner of a folder of recordings says of them.

A row a file; all columns but `file` may be absent.

| column | what |
| --- | --- |
| `file` | path in the folder, as its builder names files |
| `patient` | any identifier; without it each file is taken for a patient of its own |
| `time` | of the recording, 2024-01-31 or 2024-01-31T12:00:00 |
| `age` | in years |
| `sex` | female or male |
| `labels` | codes with semicolons between, SCP-ECG statements where the tasks are to find them |
| `split` | train, validation or test; without it by a keyed hash of the patient |
"""

import datetime
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.formats import csv_table
from tfds_builders.recording import privacy, splits
from tfds_builders.recording.recording import SPLITS, Recording

FILE = "recordings.csv"


def read(folder: Path) -> dict[str, dict[str, Any]] | None:
    """For each file that recordings.csv lists, its other cells as COLUMNS reads them; None if there is no such table.

    Raises:
      InputError: it is no table, a file is listed twice, or a cell is not what belongs there. The cell is not quoted.
    """
    path = folder / FILE
    if not path.exists():
        return None
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(
        csv_table.read(path, ["file"], "see tfds_builders/formats/recordings_csv.py for its form"),
        start=2,
    ):
        entry = {
            column: _cell(row, column, f"{path}: row {number}")
            for column in COLUMNS
            if column in row
        }
        file = entry.pop("file")
        if not (folder / file).parent.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: row {number}: a file outside the folder; put it there")
        if found.setdefault(file, entry) is not entry:
            raise InputError(
                f"{path}: row {number}: a file that an earlier row lists; leave one of them out"
            )
    return found


def recordings(
    files: Iterable[str], listed: dict[str, dict[str, Any]] | None, key: bytes
) -> list[Recording]:
    """The recordings of a folder, in order of their names.

    Args:
      files: those of the folder.
      listed: what `read` gave; if it is not None, only the files that it has are recordings.
      key: secret that hides names and dates.
    """
    return [
        _recording(file, (listed or {}).get(file, {}), key)
        for file in sorted(files if listed is None else listed)
    ]


def _recording(file: str, entry: dict[str, Any], key: bytes) -> Recording:
    patient = entry.get("patient") or f"file {file}"
    return Recording(
        record_id=privacy.record_id(file, key),
        source_patient_id=patient,
        split=entry.get("split") or splits.of_patient(patient, key),
        location=file,
        recorded_at=privacy.shifted(entry.get("time"), patient, key),
        age=privacy.age(entry.get("age")),
        sex=entry.get("sex"),
        labels=entry.get("labels", ()),
    )


def _cell(row: csv_table.Row, column: str, where: str) -> Any:
    try:
        return COLUMNS[column](row[column].strip())
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"{where}: column {column} is not {EXPECTED[column]}; correct it"
        ) from error


def _file(text: str) -> str:
    path = Path(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise ValueError(text)
    return str(path)


def _one_of(*words: str) -> Callable[[str], str | None]:
    return csv_table.if_given({word: word for word in words}.__getitem__)


def _labels(text: str) -> tuple[str, ...]:
    codes = [code.strip() for code in text.split(";") if code.strip()]
    if not all(re.fullmatch(r"[A-Za-z0-9_:/.()+-]{1,32}", code) for code in codes):
        raise ValueError(text)
    return tuple(dict.fromkeys(codes))


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=None)


COLUMNS: dict[str, Callable[[str], Any]] = {
    "file": _file,
    "patient": str,
    "time": csv_table.if_given(_time),
    "age": csv_table.if_given(csv_table.age),
    "sex": _one_of("female", "male"),
    "labels": _labels,
    "split": _one_of(*SPLITS),
}
"""How the cells of a column are read; other columns are not."""
EXPECTED = {
    "file": "a path in the folder",
    "patient": "an identifier",
    "time": "a date or a date and time as 2024-01-31T12:00:00",
    "age": "an age in years",
    "sex": "female or male",
    "labels": "codes with semicolons between",
    "split": f"one of {', '.join(SPLITS)}",
}
