"""Leads by name: what sources call the twelve leads, and the limb leads that follow from I and II.

A name that is not in the table is no lead. Two signals that mean the same lead are an error: nobody can say which is
the right one.
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
"""Before a lead's own name, in lower case. mdc_ecg_lead_: IEEE 11073-10102, in HL7 aECG and DICOM."""
OTHER_NAMES = {
    "I": ("di", "d1", "mli", "lead i (einthoven)"),  # the last in DICOM
    "II": ("dii", "d2", "mlii"),
    "III": ("diii", "d3", "mliii"),
    **{f"V{number}": (f"c{number}",) for number in range(1, 7)},
}
"""D1, DI: in Romance languages. MLI: limb electrodes on the torso (Mason-Likar). C1: the electrode in IEC 60601."""
ALIASES = {prefix + lead.casefold(): lead for lead in LEADS for prefix in PREFIXES} | {
    other: lead for lead, others in OTHER_NAMES.items() for other in others
}
"""Lead of a name in lower case."""

DERIVED = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
"""A lead as a sum of I and II with these weights, by Einthoven's law and Goldberger's definitions."""


def find(names: Sequence[str], where: str | Path) -> dict[str, int]:
    """Index into `names` of each of the twelve leads, in the order of LEADS.

    III, aVR, aVL and aVF may be absent, since they follow from I and II.

    Args:
      names: lead names as the source writes them.
      where: the file they come from, for the error message.

    Raises:
      RecordingError: another lead is absent, or two signals mean the same.
    """
    try:
        return dict(_find(tuple(names)))
    except RecordingError as error:
        raise RecordingError(error.reason, f"{where}: {error}") from None


@functools.lru_cache(maxsize=64)  # a source names its signals in few ways
def _find(names: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        lead = ALIASES.get(" ".join(name.casefold().split()))
        if lead in found:
            problem = f"signals {names[found[lead]]!r} and {name!r} both mean lead {lead}"
            raise RecordingError("leads", f"{problem}; leave one of them out")
        if lead:
            found[lead] = index
    if absent := [lead for lead in LEADS if lead not in found and lead not in DERIVED]:
        problem = f"lacks lead {', '.join(absent)} (found: {' '.join(names)[:200]})"
        raise RecordingError("leads", f"{problem}; give I, II and V1 to V6 at least")
    return {lead: found[lead] for lead in LEADS if lead in found}


def to_stored(value_uv: np.ndarray, names: Sequence[str], where: str | Path) -> np.ndarray:
    """Stored samples [time, 12] of signals in microvolts.

    Args:
      value_uv: float [time, signal], NaN where a sample is missing.
      names: name of each signal.
      where: the file they come from, for the error message.

    Raises:
      RecordingError: a lead is absent or not clear, or a value exceeds what 16 bits hold.
    """
    return complete({lead: value_uv[:, index] for lead, index in find(names, where).items()}, where)


def complete(leads: dict[str, np.ndarray], where: str | Path) -> np.ndarray:
    """Stored samples [time, 12] in the order of LEADS, absent limb leads calculated from I and II.

    Args:
      leads: for each lead present, float [time] in microvolts, NaN where a sample is missing.
      where: the file they come from, for the error message.

    Raises:
      RecordingError: a value, or a calculated one, exceeds what 16 bits hold.
    """
    if len(leads) < len(LEADS):
        leads = {lead: a * leads["I"] + b * leads["II"] for lead, (a, b) in DERIVED.items()} | leads
    return np.stack([quantise(leads[lead], f"{where}: lead {lead}") for lead in LEADS], axis=1)


def quantise(value_uv: np.ndarray, where: str | Path) -> np.ndarray:
    """Microvolts as int16 at 1 uV per LSB, MISSING where `value_uv` is NaN.

    Raises:
      RecordingError: a value is infinite or exceeds what 16 bits hold.
    """
    rounded = np.rint(value_uv)
    missing = np.isnan(rounded)
    if gaps := missing.any():
        rounded[missing] = 0
    if (most := max(rounded.max(initial=0), -rounded.min(initial=0))) > np.iinfo(np.int16).max:
        raise RecordingError(
            "range", f"{where} reaches {most:.0f} uV, over 32767 uV; check its gain and units"
        )
    stored = rounded.astype(np.int16)
    if gaps:
        stored[missing] = MISSING
    return stored
