"""The kind of a user's columns, inferred from their cells, and the targets that cells stand for."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ecgjax.errors import InputError
from ecgjax.outputs import Kind
from ecgjax.train.runlog import console
from ecgjax.workflows.own_targets import cells
from tfds_builders.formats import table_columns
from tfds_builders.formats.label_cell import LONGEST
from tfds_builders.recording import demographics

Form = Literal["truth", "sets", "classes", "numbers"]
"""Form of a column: yes or no; several labels in a cell; one class; a number."""
KINDS: dict[Form, Kind] = {
    "truth": "labels",
    "sets": "labels",
    "classes": "classes",
    "numbers": "numbers",
}
FEW = 10
"""Number of different whole numbers up to which a column holds classes by default."""
LEAST_REPEATS = 5
"""Rows of a class, in the mean, from which on a column of text holds classes by default."""
SHOWN = 3
"""Number of bad rows that a message lists."""


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """The cells of one column, in the rows that have a recording."""

    path: Path
    name: str
    texts: list[str]
    """Cells as `cells.tidy` writes them."""
    numbers: list[int]
    """Number of each row in the table."""

    def refuse(self, bad: Sequence[int], expected: str) -> InputError:
        """Returns the error for cells at positions `bad`."""
        shown = ", ".join(
            f"row {self.numbers[position]} ({self.texts[position][:30]!r})"
            for position in bad[:SHOWN]
        )
        rest = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
        return InputError(f"{self.path}: column {self.name!r}: {shown}{rest}: {expected}")


@dataclasses.dataclass(frozen=True)
class Encoding:
    """The targets that the cells of some columns stand for."""

    form: Form
    columns: tuple[str, ...]
    names: tuple[str, ...]
    """Names of the outputs: those of the columns, or the values of the one column."""

    @property
    def kind(self) -> Kind:
        """Kind of the targets."""
        return KINDS[self.form]

    def encode(self, columns: Sequence[Column]) -> np.ndarray:
        """Returns targets float32 [row, output], with NaN where there is no label.

        A class that is none of `names` is no label; such labels among others are left out.

        Raises:
          InputError: a cell has another form. The message names the rows.
        """
        if self.form == "truth":
            return np.stack([_encode_truth(column) for column in columns], axis=1)
        if self.form == "numbers":
            return np.stack([_encode_numbers(column) for column in columns], axis=1)
        (column,) = columns
        rows = {text: self._encode_text(text) for text in set(column.texts)}
        if bad := [index for index, text in enumerate(column.texts) if rows[text] is None]:
            raise column.refuse(bad, "no list of labels; separate them by semicolons")
        return np.array([rows[text] for text in column.texts], np.float32).reshape(
            -1, len(self.names)
        )

    def _encode_text(self, text: str) -> list[float] | None:
        """Returns the targets of a cell with a class or labels, None if it has no such form."""
        absent = [float("nan")] * len(self.names)
        if cells.is_absent(text):
            return absent
        keys = list(map(_key, self.names))
        if self.form == "classes":
            return [float(key == _key(text)) for key in keys] if _key(text) in keys else absent
        try:
            present = set(map(_key, cells.parse_labels(text)))
        except ValueError:
            return None
        return [float(key in present) for key in keys]


def infer(columns: Sequence[Column], forced: Kind | None) -> Encoding:
    """Returns the encoding of columns, of the kind that their cells show or that is forced.

    Raises:
      InputError: the columns are of different kinds, hold nothing or free text, or cannot be read
        as the kind that is forced.
    """
    forms: list[Form] = [_form(column, forced) for column in columns]
    names = tuple(column.name for column in columns)
    path = columns[0].path
    if len({KINDS[form] for form in forms}) > 1:
        given = ", ".join(
            f"{name} ({KINDS[form]})" for name, form in zip(names, forms, strict=True)
        )
        problem = f"{path}: --target columns of different kinds: {given}"
        raise InputError(f"{problem}; train them apart, or give --target-kind")
    form = forms[0]
    if form in ("truth", "numbers") and set(forms) == {form}:
        return Encoding(form, names, names)
    if len(columns) > 1:
        problem = f"{path}: --target {' '.join(names)}: {form} in more than one column"
        raise InputError(f"{problem}; give one such column at a time, or several of yes and no")
    return Encoding(form, names, _values(columns[0], form))


def _form(column: Column, forced: Kind | None) -> Form:
    """Returns the form of a column.

    Raises:
      InputError: it holds no label, or free text.
    """
    count = Counter(text for text in column.texts if not cells.is_absent(text))
    known = {text: number for text, number in count.items() if text.casefold() != "none"}
    if not known:
        problem = (
            f"{column.path}: column {column.name!r} has no label in {len(column.texts):,} rows"
        )
        raise InputError(f"{problem} with a recording; give another --target")
    if forced == "numbers":
        return "numbers"
    if all(cells.parse_truth(text) is not None for text in known) and forced != "classes":
        return "truth"
    if forced == "labels" or (not forced and any(map(cells.has_several, count))):
        return "sets"
    if forced == "classes":
        return "classes"
    return _form_of_values(column, known)


def _form_of_values(column: Column, count: dict[str, int]) -> Form:
    """Returns the form of a column of numbers or texts."""
    comma = cells.decimal_comma(list(count))
    numbers = {text: cells.parse_number(text, comma=comma) for text in count}
    values = {number for number in numbers.values() if number is not None}
    numeric = sum(count[text] for text, number in numbers.items() if number is not None)
    is_whole = all(number.is_integer() for number in values)
    if 2 * numeric > sum(count.values()) and (len(values) > FEW or not is_whole):
        return "numbers"  # the cells that are none are refused by row
    keys = set(map(_key, count))
    if len(keys) > FEW and LEAST_REPEATS * len(keys) > sum(count.values()):
        problem = f"{column.path}: column {column.name!r} has {len(keys):,} different texts in "
        problem += f"{sum(count.values()):,} rows, as free text has"
        remedy = "give a column of classes, or --target-kind classes"
        if all(cells.has_unit(text) for text, number in numbers.items() if number is None):
            example = next(text for text, number in numbers.items() if number is None)
            remedy = f"write a number without unit or sign of comparison (not {example[:30]!r})"
        raise InputError(f"{problem}; {remedy}")
    return "classes"


def _values(column: Column, form: Form) -> tuple[str, ...]:
    """Returns the classes or labels of a column, in the order of numbers or of the alphabet.

    Upper and lower case are not told apart; the spelling is the most frequent one.
    """
    count: Counter[str] = Counter()
    for text in column.texts:
        if not cells.is_absent(text):
            count.update([text] if form == "classes" else _labels(text))
    spelling: dict[str, str] = {}
    for text, _ in count.most_common():
        spelling.setdefault(_key(text), text if cells.parse_number(text) is None else _key(text))
    too_long = [
        index
        for index, text in enumerate(column.texts)
        if any(len(each) > LONGEST for each in ([text] if form == "classes" else _labels(text)))
    ]
    if too_long:
        raise column.refuse(too_long, f"longer than {LONGEST} characters, as free text is")
    if not spelling:
        raise InputError(f"{column.path}: column {column.name!r} has no label in any list")
    return tuple(spelling[key] for key in sorted(spelling, key=_order))


def _labels(text: str) -> list[str]:
    try:
        return cells.parse_labels(text)
    except ValueError:
        return []  # `encode` names the row


def _key(text: str) -> str:
    """Returns a text as it is compared: without case, and 1.0 as 1."""
    number = cells.parse_number(text)
    return f"{number:g}" if number is not None and abs(number) < 1e6 else text.casefold()


def _order(key: str) -> tuple[float, str]:
    number = cells.parse_number(key)
    return (float("inf") if number is None else number), key


def _encode_truth(column: Column) -> np.ndarray:
    return _encode(column, cells.parse_truth, "neither yes nor no; write 1 or 0")


def _encode_numbers(column: Column) -> np.ndarray:
    comma = cells.decimal_comma(column.texts)
    if comma and cells.thousands_comma(column.texts):
        unclear = [index for index, text in enumerate(column.texts) if "," in text]
        raise column.refuse(unclear, "a decimal comma or thousands? write 1.234 or 1234")
    expected = "no number; write it without unit, sign of comparison or thousands separator, or "
    expected += "leave the cell empty"
    values = _encode(column, lambda text: cells.parse_number(text, comma=comma), expected)
    if table_columns.MEANINGS.get(table_columns.plain(column.name)) == "age":
        wrong = (values < 0) | (values > demographics.OLDEST_YEARS)
        if wrong.any():
            console.print(
                f"{column.path}: column {column.name!r}: {wrong.sum():,} ages outside 0 to "
                f"{demographics.OLDEST_YEARS:g} years count as no label, such as row "
                f"{column.numbers[int(wrong.argmax())]} ({column.texts[int(wrong.argmax())]})"
            )
            values = np.where(wrong, np.nan, values)
    return values


def _encode(column: Column, parse: Callable[[str], float | None], expected: str) -> np.ndarray:
    values = {
        text: float("nan") if cells.is_absent(text) or text.casefold() == "none" else parse(text)
        for text in set(column.texts)
    }
    if bad := [index for index, text in enumerate(column.texts) if values[text] is None]:
        raise column.refuse(bad, expected)
    return np.array([values[text] for text in column.texts], np.float32)
