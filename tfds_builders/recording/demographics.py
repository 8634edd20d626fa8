"""Age, sex and time of a recording in the forms in which hospitals write them.

A value is one of three things: understood, implausible (such as an age of 999, then it is unknown),
or not understood (ValueError).
"""

import datetime
import math
import re
import unicodedata

OLDEST_YEARS = 120.0
"""Highest age that anybody has, but for a few people known by name."""
FIRST_YEAR = 1930
"""Year before which no ECG has twelve leads: chest leads were introduced in the 1930s."""
UNSET = {datetime.date(1970, 1, 1)}
"""Dates of computers whose clock was not set."""
MISSING = {"", "na", "nan", "nat", "none", "null", "unknown", "unk", "missing", "unbekannt"}
"""Words for a value that is not there, in lower case and without punctuation."""

YEARS_PER_UNIT = {"": 1.0, "a": 1.0, "j": 1.0, "y": 1.0, "m": 1 / 12, "w": 7 / 365.25}
YEARS_PER_UNIT |= {"d": 1 / 365.25, "t": 1 / 365.25}
"""Length of each unit in years, by its first letter in English, German or Latin."""
UNITS = r"|y|yrs?|years?|jahre?|j|a|m|mos?|months?|monate?|w|wks?|weeks?|wochen?|d|days?|tage?|t"
AGE = re.compile(rf"p?([<>]?)\s*([+-]?\d+(?:[.,]\d*)?)\s*(\+?)\s*({UNITS})\.?(?:\s*old|/?o)?")

SEXES = {
    "female": "f female w weiblich frau woman femme feminin femenino feminino mujer mulher vrouw v",
    "male": "m male mann maennlich mannlich man homme masculin masculino hombre homem h",
}
SEX = {word: sex for sex, words in SEXES.items() for word in words.split()}
OTHER_SEX = {"o", "other", "u", "x", "d", "divers", "diverse", "intersex", "nonbinary"}
"""Words for a sex that is neither or not stated, in addition to `MISSING`."""


def plain(text: str) -> str:
    """Returns the letters and digits of a text, in lower case and without accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in parts if character.isalnum())


def is_missing(text: str) -> bool:
    """Tells whether a cell says that there is no value: empty, "?", "NaN", "n/a", "unknown"."""
    return len(text) < 20 and plain(text) in MISSING  # 20: "( unknown )" and the like


def plausible_age(years: float | None) -> float | None:
    """Returns an age of 0 to 120 years; any other, such as -1, 999 or NaN, is unknown."""
    return years if years is not None and 0 <= years <= OLDEST_YEARS else None


def plausible_time(time: datetime.datetime | None) -> datetime.datetime | None:
    """Returns a time at which an ECG may have been recorded, without its time zone.

    Times before 1930, of a clock that was not set, or in the future are unknown.
    """
    if time is None:
        return None
    time = time.replace(tzinfo=None)
    latest = datetime.datetime.now() + datetime.timedelta(days=1)  # 1: time zones
    plausible = time.year >= FIRST_YEAR and time.date() not in UNSET and time <= latest
    return time if plausible else None


def parse_age(text: str) -> float:
    """Returns an age in years, which may be implausible: 61, 61.5, 061Y, 18M, 3 W, 90+, >89.

    Raises:
      ValueError: the text is no age.
    """
    match = AGE.fullmatch(text.strip().casefold())
    if match is None:
        raise ValueError(text)
    relation, number, plus, unit = match.groups()
    years = float(number.replace(",", ".")) * YEARS_PER_UNIT[unit[:1]]
    if relation == ">" and years >= 89:  # an age that was capped
        years += 1
    elif relation or (plus and years < 89):
        return math.nan
    return years


def parse_sex(text: str, words: frozenset[str] = frozenset()) -> str | None:
    """Returns "female", "male", or None if the text says other or unknown.

    Args:
      text: a word or a letter.
      words: all words of the column, as `plain` writes them: in Spanish and Portuguese, M (mujer,
        mulher) stands beside H (hombre, homem) and is female.

    Raises:
      ValueError: the word is not known. Numbers are not: 1 is male in ISO 5218, female in PTB-XL.
    """
    word = plain(text)
    if word in OTHER_SEX or is_missing(text):
        return None
    if word not in SEX:
        raise ValueError(text)
    return "female" if word == "m" and "h" in words and "f" not in words else SEX[word]
