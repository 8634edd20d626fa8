"""Splits of a user's own: a table that says which recordings are for training and for testing."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ecgjax.data.records import SPLITS, Records
from ecgjax.data.splits import LEAST_FOLDS, LEFT_OUT, Splits, cross_validation
from ecgjax.errors import InputError
from ecgjax.train.runlog import console
from ecgjax.workflows.own_table import OwnTable, read_table
from ecgjax.workflows.row_join import Joined, join
from tfds_builders.formats import table_columns
from tfds_builders.formats.table_cells import SPLIT
from tfds_builders.recording import demographics

WORDS = SPLIT | {
    "derivation": "train",
    "dev": "validation",
    "tune": "validation",
    "tuning": "validation",
    "holdout": "test",
    "heldout": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Split by the words for it."""
FOLD_COLUMNS = "fold folds stratfold foldid foldnumber foldno cvfold kfold".split()
"""Names of columns of folds, in lower case, letters and digits only."""
_NUMBER = re.compile(r"(?:fold[\s_-]*)?(\d{1,4})(?:\.0+)?", re.IGNORECASE | re.ASCII)


def read_splits(path: Path, records: Records, *, key: Path | None = None) -> list[Splits]:
    """Reads splits, or folds for cross-validation, and prints which rows have a recording.

    Recordings without a row, and rows with an empty cell, are in no split.

    Args:
      path: a table with a column that names recordings, see `row_join.join`, and a column of splits
        or of folds.
      records: the prepared data set.
      key: the key file of own files.

    Returns:
      One division, or one for each fold.

    Raises:
      InputError: there is no such column, a cell is no split, or a recording is in two splits.
    """
    table = read_table(path)
    column = _find_column(table)
    joined = join(records, table, key=key)
    joined.print_summary(records)
    cells = table.column(column)
    words = {text: WORDS.get(demographics.plain(text)) for text in set(cells) - {""}}
    numbers = {text: _NUMBER.fullmatch(text) for text in words}
    if words and all(numbers.values()):
        folds = {text: int(match[1]) for text, match in numbers.items() if match}
        return _folds(joined, records, cells, folds)
    are_folds = not any(words.values())
    for number, text in zip(table.numbers, cells, strict=True):
        if text and words[text] is None and not (are_folds and numbers[text]):
            remedy = "write train, validation or test, or numbers of folds in all rows"
            raise InputError(f"{path}: row {number}: {column} {text[:40]!r} is no split; {remedy}")
    order = {text: SPLITS.index(word) for text, word in words.items() if word}
    codes = _one_each(joined, records, cells, order)
    parts = {name: np.flatnonzero(codes == code) for code, name in enumerate(SPLITS)}
    console.print(f"{path}: {', '.join(f'{name} {len(parts[name]):,}' for name in SPLITS)}")
    return [Splits(records, parts, str(path))]


def _find_column(table: OwnTable) -> str:
    """Returns the column of splits, or else the column of folds."""
    plain = {name: table_columns.plain(name) for name in table.header}
    splits = [name for name, text in plain.items() if table_columns.MEANINGS.get(text) == "split"]
    found = splits or [name for name, text in plain.items() if text in FOLD_COLUMNS]
    if len(found) == 1:
        return found[0]
    problem = f"columns {', '.join(found)}" if found else "no column named split or fold"
    raise InputError(f"{table.path}: {problem}; name one column split, and rename others")


def _folds(
    joined: Joined, records: Records, cells: Sequence[str], numbers: Mapping[str, int]
) -> list[Splits]:
    """Returns the division of each fold, in the order of their numbers."""
    path = joined.table.path
    names = sorted(set(numbers.values()))
    codes = _one_each(
        joined, records, cells, {text: names.index(number) for text, number in numbers.items()}
    )
    sizes = [int((codes == code).sum()) for code in range(len(names))]
    if len(names) < LEAST_FOLDS or not all(sizes):
        counts = ", ".join(f"{name} ({size})" for name, size in zip(names, sizes, strict=True))
        problem = f"{path}: folds {counts} with recordings"
        raise InputError(f"{problem}; give {LEAST_FOLDS} folds or more, or words such as train")
    console.print(f"{path}: {len(names)} folds; each is tested, the next one is for validation")
    return cross_validation(records, codes, str(path))


def _one_each(
    joined: Joined, records: Records, cells: Sequence[str], codes: Mapping[str, int]
) -> np.ndarray:
    """Returns the code of each recording's cell, LEFT_OUT without one, int [recording].

    Raises:
      InputError: two rows of a recording have different cells.
    """
    found = np.full(len(records), LEFT_OUT)
    first = np.zeros(len(records), int)
    for row, recording in zip(map(int, joined.rows), map(int, joined.recordings), strict=True):
        code = codes.get(cells[row], LEFT_OUT)
        if code == LEFT_OUT:
            continue
        if found[recording] not in (LEFT_OUT, code):
            pair = [joined.table.numbers[each] for each in (int(first[recording]), row)]
            record_id = records.column("record_id")[recording]
            problem = f"rows {pair[0]} and {pair[1]} put recording {record_id} into two splits"
            raise InputError(f"{joined.table.path}: {problem}; give it one")
        found[recording] = code
        first[recording] = row
    return found
