"""Leads by name: the sources' names of the twelve leads, and limb leads calculated from I and II.

A name that is not in the table is ignored. Two signals with names of the same lead are an error,
since nobody can decide which one is right.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording.quality import RecordingError

PREFIXES = (
    "",
    "lead ",
    "lead_",
    "lead-",
    "ecg ",
    "ecg_",
    "ecg lead ",
    "ecg_lead_",
    "mdc_ecg_lead_",
)
"""Prefixes of a lead's name, in lower case. mdc_ecg_lead_ is IEEE 11073-10102, used in HL7 aECG and
DICOM."""
OTHER_NAMES = {
    "I": ("di", "d1", "mli", "lead i (einthoven)"),  # the last one in DICOM
    "II": ("dii", "d2", "mlii"),
    "III": ("diii", "d3", "mliii"),
    **{f"V{number}": (f"c{number}",) for number in range(1, 7)},
}
"""Further names of a lead, in lower case. D1, DI: in Romance languages. MLI: limb electrodes on the
torso (Mason-Likar). C1: the name of the electrode in IEC 60601."""
ALIASES = {prefix + lead.casefold(): lead for lead in LEADS for prefix in PREFIXES} | {
    other: lead for lead, others in OTHER_NAMES.items() for other in others
}
"""Lead by name in lower case."""

DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
"""Weights of I and II whose sum is the lead, by Einthoven's law and Goldberger's definitions."""


def find(names: Sequence[str], origin: str | Path) -> dict[str, int]:
    """Returns the index into `names` of each of the twelve leads, in the order of LEADS.

    III, aVR, aVL and aVF may be absent, since they follow from I and II.

    Args:
      names: lead names as the source writes them.
      origin: the file they come from, for the error message.

    Raises:
      RecordingError: another lead is absent, or two signals have names of the same lead.
    """
    try:
        return dict(_find(tuple(names)))
    except RecordingError as error:
        raise RecordingError(error.reason, f"{origin}: {error}") from None


@functools.lru_cache(maxsize=64)  # all files of a source use a few sets of names
def _find(names: tuple[str, ...]) -> dict[str, int]:
    indices: dict[str, int] = {}
    for index, name in enumerate(names):
        lead = ALIASES.get(" ".join(name.casefold().split()))
        if lead in indices:
            problem = f"signals {names[indices[lead]]!r} and {name!r} both mean lead {lead}"
            raise RecordingError("leads", f"{problem}; leave one of them out")
        if lead:
            indices[lead] = index
    if absent := [lead for lead in LEADS if lead not in indices and lead not in DERIVED]:
        problem = f"lacks lead {', '.join(absent)} (found: {' '.join(names)[:200]})"
        raise RecordingError("leads", f"{problem}; give I, II and V1 to V6 at least")
    return {lead: indices[lead] for lead in LEADS if lead in indices}


def to_stored(value_uv: np.ndarray, names: Sequence[str], origin: str | Path) -> np.ndarray:
    """Converts signals in microvolts to stored samples [time, 12].

    Args:
      value_uv: float [time, signal], NaN for a missing sample.
      names: name of each signal.
      origin: the file they come from, for the error message.

    Raises:
      RecordingError: a lead is absent or ambiguous, or a value exceeds the range of 16 bits.
    """
    indices = find(names, origin)
    return complete({lead: value_uv[:, index] for lead, index in indices.items()}, origin)


def complete(leads: dict[str, np.ndarray], origin: str | Path) -> np.ndarray:
    """Returns stored samples [time, 12] in the order of LEADS, with absent limb leads calculated.

    Args:
      leads: for each lead present, float [time] in microvolts, NaN for a missing sample.
      origin: the file they come from, for the error message.

    Raises:
      RecordingError: a given or calculated value exceeds the range of 16 bits.
    """
    if len(leads) < len(LEADS):
        leads = {lead: a * leads["I"] + b * leads["II"] for lead, (a, b) in DERIVED.items()} | leads
    return np.stack([quantise(leads[lead], f"{origin}: lead {lead}") for lead in LEADS], axis=1)


def quantise(value_uv: np.ndarray, origin: str | Path) -> np.ndarray:
    """Rounds microvolts to int16 at 1 uV per LSB, with MISSING for NaN.

    Raises:
      RecordingError: a value is infinite or exceeds the range of 16 bits.
    """
    rounded = np.rint(value_uv)
    missing = np.isnan(rounded)
    any_missing = missing.any()
    if any_missing:
        rounded[missing] = 0
    largest = max(rounded.max(initial=0), -rounded.min(initial=0))
    if largest > np.iinfo(np.int16).max:
        raise RecordingError(
            "range", f"{origin} reaches {largest:.0f} uV, over 32767 uV; check its gain and units"
        )
    stored = rounded.astype(np.int16)
    if any_missing:
        stored[missing] = MISSING
    return stored
