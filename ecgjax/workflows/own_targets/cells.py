"""Cells of a user's targets: absent values, yes and no in several languages, numbers, texts."""

import math
import re
import unicodedata
from collections.abc import Sequence

from tfds_builders.formats import label_cell
from tfds_builders.recording import demographics

_YES = (
    "1 yes y true t positive pos present case ja j wahr positiv vorhanden oui vrai present presente"
)
_YES += " presence si sim s verdadero verdadeiro vero positivo positif positive 是 有 阳性"
_NO = (
    "0 no n false f negative neg absent control nein falsch negativ nichtvorhanden non faux ausente"
)
_NO += " absence nao falso negativo negatif assente 否 无 阴性"
TRUTH = {word: 1.0 for word in _YES.split()} | {word: 0.0 for word in _NO.split()}
"""1 or 0 by the words for present and absent, as `demographics.plain` writes them."""
_MISSING = "notavailable notapplicable notknown notdone nodata nd nv ka keineangabe unclear pending"
_MISSING += " inconnu desconocido desconhecido sconosciuto 不明 未知"
MISSING = frozenset(_MISSING.split())
"""Words for an absent label, in addition to those of `demographics`."""
NO_CLASS_MISSING = "none"
"""Word for an absent number that may be a class, as in "none, mild, severe"."""
WITH_UNIT = re.compile(r"[<>=~≤≥]\s*\d+([.,]\d+)*.*|[+-]?\d+([.,]\d+)*\s*(%|[^\W\d_]\D*)")
"""A number with a sign of comparison before it or a unit after it."""
NO_TRUTH = re.compile(r"[-\u2212]\s*\d|[?<>=~]")
"""Signs that make a cell more than yes or no: -1 (uncertain, in CheXpert and MIMIC), "yes?"."""
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
"""A number whose commas may separate thousands."""
SEPARATORS = re.compile(r"\s*[;|]\s*")
"""Separators of several labels in one cell."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def tidy(text: str) -> str:
    """Returns a text without blanks around it and with single ones in it."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def is_absent(text: str) -> bool:
    """Tells whether a cell holds no label: empty, NA, NaN, -, ?, unknown and the like."""
    if text[:1] in tuple("[{") or demographics.plain(text) == NO_CLASS_MISSING:
        return False  # [] is a list without a label
    if not demographics.plain(text) and set(text) & set("+"):
        return False
    return demographics.is_missing(text) or demographics.plain(text) in MISSING


def parse_truth(text: str) -> float | None:
    """Returns 1 for yes, 0 for no, and None for any other text, such as -1 or "yes?"."""
    if NO_TRUTH.search(text):
        return None
    signs = {"+": 1.0, "pos.": 1.0, "neg.": 0.0}
    plain = demographics.plain(re.sub(r"(?<=\d)\.0+$", "", text))
    return signs.get(text, TRUTH.get(plain))


def decimal_comma(texts: Sequence[str]) -> bool:
    """Tells whether numbers have a decimal comma: some have a comma and none has a point."""
    return any("," in text for text in texts) and not any("." in text for text in texts)


def thousands_comma(texts: Sequence[str]) -> bool:
    """Tells whether all commas may separate thousands: 1,234 is 1234 or 1.234."""
    with_comma = [text for text in texts if "," in text]
    return bool(with_comma) and all(map(THOUSANDS.fullmatch, with_comma))


def parse_number(text: str, *, comma: bool = False) -> float | None:
    """Returns a finite number, or None for any other text, such as "<5" or "120 mmHg"."""
    if comma and text.count(",") <= 1:
        text = text.replace(",", ".")
    if not NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def has_unit(text: str) -> bool:
    """Tells whether a cell is a number with a unit or a sign of comparison."""
    return WITH_UNIT.fullmatch(text) is not None


def parse_labels(text: str) -> list[str]:
    """Returns the labels in a cell, separated by ; or |, or in a list as Python or JSON write it.

    "none" is an empty list.

    Raises:
      ValueError: a list has no form that is understood.
    """
    if text[:1] in tuple("[{"):
        return [tidy(label) for label in label_cell.parse(text)]
    labels = [tidy(label) for label in SEPARATORS.split(text)]
    present = (label for label in labels if label and not is_absent(label))
    return list(
        dict.fromkeys(each for each in present if demographics.plain(each) != NO_CLASS_MISSING)
    )


def has_several(text: str) -> bool:
    """Tells whether a cell is written as a list of labels."""
    return text[:1] in tuple("[{") or SEPARATORS.search(text) is not None
