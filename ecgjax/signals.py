"""Conventions of a stored recording: leads, units, sampling rates and wave names.

A stored recording is int16 at 1 uV per LSB, shape [time, lead], leads in the order of `LEADS`, with
`MISSING` in place of missing samples. All code works on this form, whatever the source was. The
names of leads and units that sources use are here, in one table for `prepare` and for the encoder.
"""

import fractions
import functools
import itertools
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from ecgjax.errors import InputError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MISSING = -32768
WAVES = ("none", "P", "QRS", "T")
"""Waves that a sample may belong to. The position in this tuple is the number that is stored."""
UNMARKED = 255
"""Number of a sample that was not annotated."""

OTHER_NAMES = {
    "I": ("di", "d1", "li", "l1", "mli"),
    "II": ("dii", "d2", "lii", "l2", "mlii"),
    "III": ("diii", "d3", "liii", "l3", "mliii"),
    **{f"V{number}": (f"c{number}",) for number in range(1, 7)},
}
"""Further names of a lead, as `_plain_name` returns them. D1, DI: in Romance languages. MLI: limb
electrodes on the torso (Mason-Likar). C1: the name of the electrode in IEC 60601."""
_NAMES = {lead.casefold(): lead for lead in LEADS} | {
    name: lead for lead, names in OTHER_NAMES.items() for name in names
}
_VOLTS = r"(?:[mnuμ]|milli|micro|nano)?v(?:olts?)?"
_UNIT_SUFFIX = re.compile(rf"(?:[\s_,;/]+(?:in\s+)?{_VOLTS}|[\s_,;]*[(\[{{]\s*{_VOLTS}\s*[)\]}}])$")
_PREFIX = re.compile(r"(?:(?:mdc )?(?:ecg|ekg)\d?|lead|einthoven|goldberger|wilson)(?: |(?=[a-z]))")
_REFERENCE = re.compile(r" (?:ref|\(einthoven\))$")  # the last one in DICOM: Lead I (Einthoven)
_INVERTED = re.compile(r"(?:^|\s)[-−](?=\S)|[-−]$")
_GAP = re.compile(r"^([acdlv]|av|ml) (?=[1-6rlfi]|v[rlf])")

UV_PER_UNIT = {"V": 1e6, "mV": 1e3, "uV": 1.0, "nV": 1e-3}
"""Microvolts per unit, by the name that `unit_name` returns."""
_PREFIXES = {"V": ("",), "mV": ("m", "milli"), "uV": ("u", "micro"), "nV": ("n", "nano")}
_UNITS = {
    prefix + volt: unit
    for unit, prefixes in _PREFIXES.items()
    for prefix in prefixes
    for volt in ("v", "volt", "volts")
}

LIMB_WEIGHTS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""Weights of I and II whose sum is the lead, by Einthoven's law and Goldberger's definitions."""

LARGEST_FACTOR = 20_000
"""Largest factor of an exact ratio of two sampling rates, which determines the filter's length."""
RATE_TOLERANCE = 5e-5
"""Largest relative error of another ratio: 0.5 ms in 10 s, half a sample at 1000 Hz. There always
is one with factors up to LARGEST_FACTOR."""


@functools.lru_cache(maxsize=1024)
def lead_name(name: str) -> str | None:
    """Returns the standard lead that a source's name stands for; None if it is none for certain.

    Case, full-width letters, separators, the prefixes ECG, EKG, Lead and MDC_ECG_LEAD (IEEE
    11073-10102), the names of the inventors, a unit such as (mV) and the suffix -REF do not matter.
    A name with a minus sign before or after it is none: the lead may be inverted.
    """
    return _NAMES.get(_plain_name(name))


def _plain_name(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold().strip()
    if _INVERTED.search(text):
        return ""
    text = _UNIT_SUFFIX.sub("", text)
    text = " ".join(re.split(r"[\s_\-.:;,/]+", text)).strip()
    text = _REFERENCE.sub("", text)
    while match := _PREFIX.match(text):  # ECG Lead I
        text = text[match.end() :]
    return _GAP.sub(r"\1", text)


def unit_name(unit: str) -> str | None:
    """Returns V, mV, uV or nV for a unit as a source writes it; None if it is no voltage.

    Case and brackets do not matter, both Unicode characters for micro are accepted, and so are
    words such as millivolt and MDC_DIM_MILLI_VOLT (IEEE 11073-10101).
    """
    text = unicodedata.normalize("NFKC", unit).casefold().replace("μ", "u")
    return _UNITS.get(re.sub(r"[\s_.()\[\]{}]", "", text).removeprefix("mdcdim"))


def lead_columns(
    names: Sequence[str], source: object, mapping: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Returns the index into `names` of each standard lead there, in the order of `LEADS`.

    Args:
      names: lead names as the source writes them, one for each column. Other names are ignored.
      source: the file or array that they come from, for the error message.
      mapping: leads by names of the source's own. Another column with a known name of such a lead
        is ignored.

    Raises:
      InputError: two columns have names of the same lead, since nobody can decide which one counts.
    """
    own = {_own_name(name): lead for name, lead in (mapping or {}).items()}
    mapped = {own.get(_own_name(name)) for name in names}
    columns: dict[str, int] = {}
    for index, name in enumerate(names):
        known = lead_name(name)
        lead = own.get(_own_name(name)) or (known if known not in mapped else None)
        if lead in columns:
            problem = (
                f"{source}: columns {names[columns[lead]]!r} and {name!r} both mean lead {lead}"
            )
            raise InputError(f"{problem}; leave one of them out")
        if lead:
            columns[lead] = index
    return {lead: columns[lead] for lead in LEADS if lead in columns}


def _own_name(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


@functools.lru_cache(maxsize=64)
def limb_weights(known: tuple[str, ...]) -> dict[str, tuple[tuple[str, float], ...]]:
    """Returns how absent limb leads follow from two known ones, by Einthoven and Goldberger.

    Args:
      known: the leads that there are, in the order of `LEADS`.

    Returns:
      For each absent limb lead, pairs of a known lead and its weight; empty if fewer than two limb
      leads are known. I and II are preferred, then the first two known ones.
    """
    limb = [lead for lead in LIMB_WEIGHTS if lead in known]
    if len(limb) < 2:
        return {}
    pair = limb[:2]
    basis = np.array([LIMB_WEIGHTS[lead] for lead in pair]).T
    weights = {}
    for lead in itertools.filterfalse(known.__contains__, LIMB_WEIGHTS):
        first, second = np.linalg.solve(basis, LIMB_WEIGHTS[lead]).round(9).tolist()
        weights[lead] = ((pair[0], first), (pair[1], second))
    return weights


@functools.lru_cache(maxsize=64)
def rate_ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Returns (up, down), the smallest integers with from_hz * up / down = to_hz.

    If one of them exceeds `LARGEST_FACTOR`, the result is the simplest ratio that differs from the
    exact one by at most `RATE_TOLERANCE`, such as 3 / 2 for 333.333 and 500 Hz.

    Raises:
      InputError: `from_hz` is not a positive number.
    """
    if not (math.isfinite(from_hz) and from_hz > 0):
        raise InputError(
            f"sampling rate {from_hz} Hz: give the recording's rate in Hz, a positive number"
        )
    # The decimal digits of a rate: 409.6 Hz are 4096 / 10 and no binary fraction near it.
    ratio = fractions.Fraction(str(float(to_hz))) / fractions.Fraction(str(float(from_hz)))
    if max(ratio.as_integer_ratio()) > LARGEST_FACTOR:
        tolerance = fractions.Fraction(str(RATE_TOLERANCE))
        ratio = _simplest_between(ratio * (1 - tolerance), ratio * (1 + tolerance))
    return ratio.as_integer_ratio()


def _simplest_between(low: fractions.Fraction, high: fractions.Fraction) -> fractions.Fraction:
    """Returns the fraction with the smallest numerator and denominator between two positive ones.

    By their continued fractions, which are equal up to where the result ends.
    """
    whole = math.ceil(low)
    if whole <= high:
        return fractions.Fraction(whole)
    whole -= 1
    return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))
