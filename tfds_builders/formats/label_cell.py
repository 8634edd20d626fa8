"""A cell of labels: codes or short words, separated in one of the ways that tables have."""

import ast
import json
import re
from typing import Any

from tfds_builders.recording import demographics

LONGEST = 64
"""Longest label, in characters. What is longer is free text, which may name a patient."""
SEPARATORS = ";|,"
"""Separators in the order of precedence: a label in words may hold a comma."""
CODES = re.compile(rf"[A-Z0-9_:/.()+\-\s{SEPARATORS}]*")
"""Text of codes only, which may have several kinds of separators."""
QUOTED = re.compile(r"""[\[({\s,]*(?:(?:'[^'\\]*'|"[^"\\]*")[\s,]*)*[\])}]""")
"""A list of quoted words as Python, JSON or NumPy write it; NumPy writes no commas."""


def parse(text: str) -> tuple[str, ...]:
    """Returns the labels in a cell, each once.

    Understood are codes separated by ; | or commas, lists such as "['AFIB', 'SR']", and dicts such
    as "{'NORM': 100.0}", whose keys are the labels; a key with the value False is none.

    Raises:
      ValueError: the cell has another form, or a label is longer than LONGEST or not printable.
    """
    text = text.strip()
    labels = _from_brackets(text) if text[:1] in tuple("[({") else _divide(text)
    labels = [label for label in labels if label and not demographics.is_missing(label)]
    if not all(len(label) <= LONGEST and label.isprintable() for label in labels):
        raise ValueError(text)
    return tuple(dict.fromkeys(labels))


def _divide(text: str) -> list[str]:
    used = [separator for separator in SEPARATORS if separator in text]
    if not CODES.fullmatch(text):
        used = used[:1]
    return [piece.strip() for piece in re.split(f"[{''.join(used)}]", text)] if used else [text]


def _from_brackets(text: str) -> list[str]:
    if QUOTED.fullmatch(text):
        return [word[1:-1].strip() for word in re.findall("""'[^']*'|"[^"]*\"""", text)]
    closed = text[0] + text[-1] in ("[]", "()", "{}")
    if closed and not re.search(r"""['":\[({]""", text[1:-1]):
        return _divide(text[1:-1])
    if text[0] == "(":
        return _divide(text)  # such as "(probable) AFIB"
    content = _load(text)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(text)
    return [key.strip() for key, value in content.items() if not _is_absent(value, content)]


def _load(text: str) -> Any:
    """Returns the value that a text is in JSON or in Python."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(text) from error


def _is_absent(value: Any, content: dict[str, Any]) -> bool:
    """Tells whether a value says that its key is no label.

    0 does so among values of 0 and 1; otherwise it is PTB-XL's mark for an unknown likelihood.
    """
    try:
        largest = max(map(float, content.values()))
    except (TypeError, ValueError, OverflowError):
        return value is False
    return value is False or (largest == 1 and value == 0)
