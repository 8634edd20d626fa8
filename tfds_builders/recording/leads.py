"""The leads of a data set: those that it holds, found by name, and limb leads that are calculated.

`ecgjax.signals` has the table of names. A name that is not in the table is ignored, unless the user
gives its lead with --lead-names.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, LIMB_WEIGHTS, MISSING, lead_columns, limb_weights
from tfds_builders.recording.quality import OFFSET_UV, RecordingError

LARGEST_UV = 32767
"""Largest absolute value of a stored sample."""
FULL_UV = 30_000
"""A lead that passes this value loses its offset. The filter of another sampling rate overshoots by
a tenth of the largest step, which then fits into 16 bits, too."""
LARGEST_OFFSET_UV = 5e6
"""Electrodes have offsets of up to 300 mV (IEC 60601-2-25). Nothing above 5 V, the supply of an
amplifier, is an offset."""


@dataclasses.dataclass(frozen=True)
class LeadRule:
    """The leads of a data set. Leads outside it, and absent ones, are missing samples."""

    kept: tuple[str, ...] = LEADS
    """Leads that the data set holds; a recording that lacks one of them is rejected."""
    allow_missing: bool = False
    """Accept recordings that lack leads, if they have at least one."""
    names: tuple[tuple[str, str], ...] = ()
    """(name in the source, lead) for names that the table lacks."""


TWELVE = LeadRule()


class StoredSignal(NamedTuple):
    """A recording in the stored form, and the quality flags that are lost with the conversion."""

    signal: np.ndarray
    """int16 [time, 12], 1 uV per LSB, leads in the order of LEADS, MISSING for a missing sample."""
    flags: tuple[str, ...] = ()


def find(names: Sequence[str], origin: str | Path, rule: LeadRule = TWELVE) -> dict[str, int]:
    """Returns the index into `names` of each lead that is there, in the order of LEADS.

    Limb leads that follow from two others may be absent.

    Args:
      names: lead names as the source writes them.
      origin: the file they come from, for the error message.
      rule: the leads that are needed.

    Raises:
      RecordingError: a needed lead is absent, or two signals have names of the same lead.
    """
    try:
        return dict(_find(tuple(names), rule))
    except RecordingError as error:
        raise RecordingError(error.reason, f"{origin}: {error}") from None


@functools.lru_cache(maxsize=64)  # all files of a source use a few sets of names
def _find(names: tuple[str, ...], rule: LeadRule) -> dict[str, int]:
    try:
        columns = lead_columns(names, "leads", dict(rule.names))
    except InputError as error:
        raise RecordingError("leads", str(error)) from None
    known = {*columns, *limb_weights(tuple(columns))}
    absent = [lead for lead in rule.kept if lead not in known]
    found = f"found: {' '.join(names).strip()[:200] or 'no names'}"
    if absent and not (rule.allow_missing and known & {*rule.kept}):
        remedy = "give --lead-names NAME=LEAD if one has another name here, --leads LEAD ... for a"
        remedy += " data set with these leads only, or --allow-missing-leads"
        needed = [lead for lead in absent if lead not in LIMB_WEIGHTS or lead in ("I", "II")]
        problem = f"lacks lead {', '.join(needed or absent)}"  # the others follow from I and II
        raise RecordingError("leads", f"{problem} ({found}); {remedy}")
    return columns


def to_stored(
    value_uv: np.ndarray, names: Sequence[str], origin: str | Path, rule: LeadRule = TWELVE
) -> StoredSignal:
    """Converts signals in microvolts to the stored form.

    Args:
      value_uv: float [time, signal], NaN for a missing sample.
      names: name of each signal.
      origin: the file they come from, for the error message.
      rule: the leads that the data set holds.

    Raises:
      RecordingError: a lead is absent or ambiguous, or does not fit into 16 bits.
    """
    columns = find(names, origin, rule)
    leads = {lead: value_uv[:, column] for lead, column in columns.items()}
    return complete(leads, origin, rule)


def complete(
    leads: dict[str, np.ndarray], origin: str | Path, rule: LeadRule = TWELVE
) -> StoredSignal:
    """Converts leads in microvolts to the stored form, with absent limb leads calculated.

    Args:
      leads: for each lead present, float [time] in microvolts, NaN for a missing sample.
      origin: the file they come from, for the error message.
      rule: the leads that the data set holds; the others are missing samples.

    Raises:
      RecordingError: a given or calculated lead does not fit into 16 bits.
    """
    weights = limb_weights(tuple(lead for lead in LEADS if lead in leads))
    time = len(next(iter(leads.values())))
    value_uv = np.full((time, len(LEADS)), np.nan)
    for column, lead in enumerate(LEADS):
        if lead not in rule.kept:
            continue
        if lead in leads:
            value_uv[:, column] = leads[lead]
        elif lead in weights:
            value_uv[:, column] = sum(weight * leads[known] for known, weight in weights[lead])
    return quantise(value_uv, origin)


def quantise(value_uv: np.ndarray, origin: str | Path) -> StoredSignal:
    """Rounds microvolts to int16 at 1 uV per LSB, with MISSING for NaN.

    A lead that does not fit into 16 bits loses its offset, if it has one, and gets the flag
    "offset:LEAD": DC-coupled amplifiers have electrode offsets, which are no part of the ECG. With
    such an offset, a sample of zero in all leads was not measured: it is MISSING.

    Args:
      value_uv: float [time, 12], NaN for a missing sample.
      origin: the file it comes from, for the error message.

    Raises:
      RecordingError: a value is infinite or exceeds the range of 16 bits.
    """
    rounded = np.rint(value_uv)
    missing = np.isnan(rounded)
    if missing.any():
        rounded[missing] = 0
    flags: list[str] = []
    if max(rounded.max(initial=0), -rounded.min(initial=0)) > FULL_UV:
        flags = _remove_large_offsets(rounded, missing, origin)
        rounded[missing] = 0
    stored = rounded.astype(np.int16)
    if missing.any():
        stored[missing] = MISSING
    return StoredSignal(stored, tuple(flags))


def with_headroom(stored: StoredSignal, origin: str | Path) -> StoredSignal:
    """Removes offsets that leave no room for the overshoot of a filter."""
    signal = stored.signal
    if signal.max(initial=0) <= FULL_UV and signal.min(initial=0) >= -FULL_UV:
        return stored
    again = quantise(np.where(signal == MISSING, np.nan, signal), origin)
    return StoredSignal(again.signal, (*stored.flags, *again.flags))


def _remove_large_offsets(
    value_uv: np.ndarray, missing: np.ndarray, origin: str | Path
) -> list[str]:
    """Subtracts, in place, the offsets of leads beyond FULL_UV, and returns their flags.

    If there is one, samples of zero in all leads are marked as missing.
    """
    flags = []
    unmeasured = ~value_uv.any(axis=1)
    for column, lead in enumerate(LEADS):
        valid_uv = value_uv[~(missing[:, column] | unmeasured), column]
        largest_uv = np.abs(valid_uv).max(initial=0)
        if largest_uv <= FULL_UV:
            continue
        if offset_uv := _large_offset(valid_uv):
            value_uv[:, column] -= offset_uv
            flags.append(f"offset:{lead}")
        elif largest_uv > LARGEST_UV:
            problem = f"{origin}: lead {lead} reaches {largest_uv:.0f} uV, over {LARGEST_UV} uV"
            raise RecordingError("range", f"{problem}; check its gain and units")
    if flags:
        missing[unmeasured] = True
    return flags


def _large_offset(value_uv: np.ndarray) -> float:
    """Returns the offset without which a lead fits into 16 bits, the one closest to its median.

    It is 0 if the baseline is near zero, so that no offset explains the large values, or if none
    helps.
    """
    lowest_uv = float(value_uv.min())
    highest_uv = float(value_uv.max())
    if not highest_uv - lowest_uv <= 2 * LARGEST_UV:  # or one of them is infinite
        return 0.0
    baseline_uv = np.rint(np.median(value_uv))
    if not OFFSET_UV < abs(baseline_uv) <= LARGEST_OFFSET_UV:
        return 0.0
    return float(np.clip(baseline_uv, highest_uv - LARGEST_UV, lowest_uv + LARGEST_UV))
