"""The cells of the columns that are read, each in the forms in which hospitals write it.

A cell that no human would understand stops the conversion. One that is understood but cannot be
true, such as an age of 999, is unknown, and counted in a warning. Messages quote no cell.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tfds_builders.formats import csv_table, label_cell
from tfds_builders.recording import demographics, privacy, timestamps

SPLIT_WORDS = {
    "train": "train training trn tr",
    "validation": "validation valid val",
    "test": "test testing tst",
}
SPLIT = {word: split for split, words in SPLIT_WORDS.items() for word in words.split()}
CUT_OFF = re.compile(r"\d([.,]\d+)?[Ee]\+\d+")
"""Long number as Excel shows it, without its last digits: strangers get one number."""
FORMULA = re.compile(r"""="([^"]*)"|'([^']*)""")
"""Text in the two ways in which Excel keeps it from becoming a number: ="0042" and '0042."""
UNKNOWN = object()
"""Value of a cell that is understood and cannot be true."""


class Content(NamedTuple):
    """The content of a column."""

    make_parser: Callable[[Counter[str]], csv_table.Parser]
    """Returns the parser of a cell, from all cells of the column that are not empty, counted. It
    returns UNKNOWN for a value that cannot be true, and raises a ValueError for text that is none.
    """
    expected: str
    """Description of a cell, for the error message."""
    unknown: str = ""
    """Description of cells that cannot be true, for the warning; empty if there is none."""
    shown: int = 0
    """Longest such cell that the warning shows; a longer one may be a name."""


def parse(content: Content, texts: Sequence[str]) -> Iterator[Any]:
    """Yields the values of a column; None for an empty cell, an exception for one without a form.

    Args:
      content: the content of the column.
      texts: its cells.
    """
    texts = [_unwrap(text.strip()) for text in texts]
    count = Counter(text for text in texts if not demographics.is_missing(text))
    try:
        parser = content.make_parser(count)
    except ValueError as error:
        values = dict.fromkeys(count, error)
    else:
        values = {text: _parse(text, parser) for text in count}
    yield from map(values.get, texts)


def _unwrap(text: str) -> str:
    match = FORMULA.fullmatch(text)
    return (match[1] or match[2] or "").strip() if match else text


def _parse(text: str, parser: csv_table.Parser) -> Any:
    if "\n" in text and text[:1] not in tuple("[({"):
        return ValueError("a line break, such as one of a quote that is not closed")
    try:
        return parser(text)
    except (ValueError, OverflowError) as error:
        return error


def _age(count: Counter[str]) -> csv_table.Parser:
    def parse_age(text: str) -> float | object:
        years = demographics.parse_age(text)
        if math.isnan(years):
            return None
        return UNKNOWN if demographics.plausible_age(years) is None else years

    return parse_age


def _sex(count: Counter[str]) -> csv_table.Parser:
    words = frozenset(map(demographics.plain, count))

    def parse_sex(text: str) -> str | object | None:
        try:
            return demographics.parse_sex(text, words)
        except ValueError:
            return UNKNOWN

    return parse_sex


def _time(count: Counter[str]) -> csv_table.Parser:
    day_first = timestamps.find_day_first(count)

    def parse_time(text: str) -> object:
        time = demographics.plausible_time(timestamps.parse_time(text, day_first))
        return UNKNOWN if time is None else time

    return parse_time


def _patient(count: Counter[str]) -> csv_table.Parser:
    if all(re.fullmatch(r"\d+\.0", text) for text in count):  # as pandas writes numbers with gaps
        count = Counter({text[:-2]: number for text, number in count.items()})
        ending = ".0"
    else:
        ending = ""
    genuine = _numbered(count)

    def parse_patient(text: str) -> str | object:
        text = _visible(text).removesuffix(ending)
        if CUT_OFF.fullmatch(text):
            raise ValueError(text)
        if privacy.is_placeholder(text) and text not in genuine:
            return UNKNOWN
        return text

    return parse_patient


def _visible(text: str) -> str:
    """Returns a text without characters that nobody sees, such as a zero-width space."""
    letters = [letter for letter in text if unicodedata.category(letter) != "Cf"]
    return unicodedata.normalize("NFC", "".join(letters)).strip()


def _numbered(count: Counter[str]) -> set[str]:
    """Returns the placeholders that are numbers of patients: 0, 11 and 999 among 0, 1, 2, 3, ...

    Such a number continues the numbers of the others, at least half of which occur, and has no more
    recordings than they have.
    """
    plain = {text: int(text) for text in count if text.isascii() and text.isdecimal()}
    plain = {text: number for text, number in plain.items() if str(number) == text}
    others = {text: number for text, number in plain.items() if not privacy.is_placeholder(text)}
    if not others:
        return set()
    lowest = min(others.values())
    highest = max(others.values())
    if 2 * len(others) < highest - lowest + 1:
        return set()
    most = max(count[text] for text in others)
    return {
        text
        for text, number in plain.items()
        if lowest - 1 <= number <= highest + 1 and count[text] <= most
    }


def _split(count: Counter[str]) -> csv_table.Parser:
    def parse_split(text: str) -> str:
        if demographics.plain(text) not in SPLIT:
            raise ValueError(text)
        return SPLIT[demographics.plain(text)]

    return parse_split


CONTENTS = {
    "patient": Content(
        _patient,
        "an identifier of a patient on one line; write it as text, since a number such as 1.2E+12 "
        "lacks its last digits",
    ),
    "time": Content(
        _time,
        "a date or time in one clear form; write 2024-01-31 or 2024-01-31T12:00:00 (05/06/2024 has "
        "two meanings unless another row tells which)",
        "are no date of an ECG (before 1930, in the future, no day of the "
        "calendar) and are unknown",
    ),
    "age": Content(
        _age,
        "an age in years; write a number",
        "are outside 0 to 120 years and are unknown",
    ),
    "sex": Content(
        _sex,
        "female or male; write one of them",
        "are not understood and are unknown; write female or male, since numbers "
        "mean different things in different tables",
        shown=2,
    ),
    "labels": Content(
        lambda count: label_cell.parse,
        f"codes or words of up to {label_cell.LONGEST} characters, separated by semicolons; give a "
        "column of free text another name, such as text",
    ),
    "split": Content(_split, "one of train, validation, test; write one of them"),
}
"""Content of each column but that of the files, by its meaning."""
