"""Dates and times in the forms in which hospitals write them."""

import calendar
import datetime
import re
from collections.abc import Iterable

MONTHS = {name.casefold(): number for number, name in enumerate(calendar.month_abbr) if number}
MONTHS |= {"mär": 3, "mrz": 3, "mai": 5, "okt": 10, "dez": 12}
"""Numbers of months by the first three letters, in English and German."""
DATES = (
    re.compile(r"(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})"),
    re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?=\d{4}|[T ]|$)"),
    re.compile(r"(?P<day>\d{1,2})[- .]*(?P<name>[^\W\d_]{3,9})\.?[- ,]*(?P<year>\d{4})"),
    re.compile(r"(?P<name>[^\W\d_]{3,9})\.?[- ](?P<day>\d{1,2}),? (?P<year>\d{4})"),
    re.compile(r"(?P<first>\d{1,2})([-/.])(?P<second>\d{1,2})\2(?P<year>\d{4}|\d\d)(?!\d)"),
)
"""Forms of a date, each at the beginning of a text."""
CLOCK = re.compile(
    r"(?P<hour>\d{1,2}):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?P<fraction>[.,]\d+)?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?\s*(?:z|utc|gmt|uhr|[+-]\d\d:?(?:\d\d)?)?",
    re.IGNORECASE,
)
"""Form of a time of day; a time zone is accepted, and dropped."""


def parse_time(text: str, day_first: bool | None = None) -> datetime.datetime | None:
    """Returns a date or a date and time.

    Accepted are ISO 8601 and its compact form, as in DICOM and HL7, 31.01.2024, 1/31/2024 and
    31-Jan-2024, each with or without a time of day.

    Args:
      text: the date.
      day_first: the order in 05/06/2024; None if it is not known.

    Returns:
      The time without its time zone. It is None if the text has the form of a date, but there is
      no such day, as in 0000-00-00.

    Raises:
      ValueError: the text has no form of a date, or it has two meanings.
    """
    match = _find_date(text)
    parts = {name: part for name, part in match.groupdict().items() if part}
    clock = re.sub(r"^[\sT,]+", "", text[match.end() :])
    time = CLOCK.fullmatch(clock)
    if clock and time is None:
        raise ValueError(text)
    if day_first is None and "." in match[0]:
        day_first = True  # dots are not used where the month comes first
    day, month = _day_and_month(parts, day_first)
    try:
        date = datetime.datetime(_year(parts["year"]), month, day)
        return date + _time_of_day(time) if time else date
    except (ValueError, OverflowError):
        return None


def has_date(text: str) -> bool:
    """Tells whether a text begins like a date, not like a time of day."""
    return any(form.match(text) for form in DATES)


def find_day_first(texts: Iterable[str]) -> bool | None:
    """Tells the order of day and month from all dates of a column that leave it open.

    Returns:
      None if none of them tells.

    Raises:
      ValueError: some have the day first and some the month.
    """
    orders = set()
    for text in texts:
        match = DATES[-1].match(text)
        if match and max(int(match["first"]), int(match["second"])) > 12:
            orders.add(int(match["first"]) > 12)
    if len(orders) > 1:
        raise ValueError("day and month change places")
    return orders.pop() if orders else None


def _find_date(text: str) -> re.Match[str]:
    for form in DATES:
        match = form.match(text)
        if match and match.groupdict().get("name", "jan")[:3].casefold() in MONTHS:
            return match
    raise ValueError(text)


def _day_and_month(parts: dict[str, str], day_first: bool | None) -> tuple[int, int]:
    if "name" in parts:
        return int(parts["day"]), MONTHS[parts["name"][:3].casefold()]
    if "day" in parts:
        return int(parts["day"]), int(parts["month"])
    first = int(parts["first"])
    second = int(parts["second"])
    if first > 12 and second <= 12:
        day_first = True
    elif second > 12 and first <= 12:
        day_first = False
    elif day_first is None and first != second:
        raise ValueError("day and month may be exchanged")
    return (second, first) if day_first is False else (first, second)


def _year(text: str) -> int:
    """Returns a year; one of two digits is the latest that is not in the future."""
    if len(text) == 4:
        return int(text)
    this_year = datetime.date.today().year
    return this_year - (this_year - int(text)) % 100


def _time_of_day(time: re.Match[str]) -> datetime.timedelta:
    hour = int(time["hour"])
    if half := time["half"]:
        hour = hour % 12 + 12 * half.casefold().startswith("p")
    second = int(time["second"] or 0)
    parts = datetime.time(hour % 24, int(time["minute"]), min(second, 59))  # 60: a leap second
    if hour > 24 or second > 60:
        raise ValueError("no time of day")
    fraction = float((time["fraction"] or "0").replace(",", "."))
    return datetime.timedelta(
        days=hour // 24, hours=parts.hour, minutes=parts.minute, seconds=parts.second + fraction
    )
