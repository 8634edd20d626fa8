"""The content of a vendor's file, as its reader in the sandbox returns it.

Names, birth dates and findings are not part of it: they never leave the sandbox.
"""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LIMB_WEIGHTS, UV_PER_UNIT, lead_columns, limb_weights, unit_name
from tfds_builders.recording import demographics, leads
from tfds_builders.recording.leads import LeadRule, StoredSignal
from tfds_builders.recording.quality import RecordingError

MOST_VALUES = 30_000_000
"""Largest number of samples of a recording, all leads together."""


DERIVED = "median beats and derived signals were left out, since they are no recordings"


ORIGIN = "recording"
"""Beginning of error messages in place of the file, which the caller adds."""


class Refused(Exception):
    """A rejected file or recording: (reason, message without the file's name)."""


class Channel(NamedTuple):
    """A signal of a recording, in the numbers that the file stores."""

    name: str
    """Name as the file writes it."""
    stored: np.ndarray
    """[time], NaN for a missing sample; may be empty if the name is that of no lead."""
    rate_hz: float
    gain: float
    """Units per stored number."""
    unit: str
    """Unit as the file writes it; empty if it states none."""
    offset: float = 0.0
    """Units that the stored number 0 stands for."""
    start: int = 0
    """Samples between the start of the recording and that of the signal."""


@dataclasses.dataclass
class Rhythm:
    """One of the recordings of a file."""

    channels: list[Channel]
    time: datetime.datetime | None = None
    """Its own time, if the file states one."""


@dataclasses.dataclass
class Content:
    """All recordings of a file, and the facts about their patient."""

    rhythms: list[Rhythm]
    patient: str = ""
    """The patient's identifier as the file writes it."""
    time: datetime.datetime | None = None
    birth: datetime.date | None = None
    age: float | None = None
    """Age in years that the file states."""
    sex: str = ""
    """Sex as the file writes it, or as its reader translates a code: M, F or U."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """Signals that were left out and whatever else a user should know; no text of the file."""

    def facts(self) -> dict[str, Any]:
        """Returns patient, age, sex and notes; an implausible age is unknown, and noted."""
        stated = (self.age, years(self.birth, self.plausible_time))
        ages = [age for age in stated if age is not None]
        age = next((age for age in ages if demographics.plausible_age(age) is not None), None)
        notes = [*self.notes]
        if ages and age is None:
            notes.append("ages outside 0 to 120 years are unknown")
        if self.time and self.plausible_time is None:
            notes.append("dates before 1930 or in the future are no dates of an ECG and unknown")
        try:
            sex = demographics.parse_sex(self.sex)
        except ValueError:
            sex = None
        return {"patient": self.patient, "age": age, "sex": sex, "notes": notes}

    @property
    def plausible_time(self) -> datetime.datetime | None:
        """Time of the file, without time zone; None if no ECG was recorded then."""
        return demographics.plausible_time(self.time)

    def stated_time(self, rhythm: Rhythm) -> str | None:
        """Returns a recording's time in ISO format, without time zone, if it is plausible."""
        time = demographics.plausible_time(rhythm.time or self.time)
        return None if time is None else time.isoformat()


def years(birth: datetime.date | None, time: datetime.datetime | None) -> float | None:
    """Returns the age at a time, in whole years, if both are known."""
    if birth is None or time is None:
        return None
    before_birthday = (time.month, time.day) < (birth.month, birth.day)
    return float(time.year - birth.year - before_birthday)


def later(time: datetime.datetime | None, seconds: float) -> datetime.datetime | None:
    """Returns a time some seconds later; None if it is unknown or out of range."""
    try:
        return None if time is None else time + datetime.timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None


def known_leads(channels: Sequence[Channel], rule: LeadRule) -> set[str]:
    """Returns the leads among the channels, and the limb leads that follow from them."""
    columns = lead_columns([channel.name for channel in channels], "leads", dict(rule.names))
    return {*columns, *limb_weights(tuple(columns))}


def leads_uv(channels: Sequence[Channel], rule: LeadRule) -> tuple[list[int], np.ndarray]:
    """Returns the positions of the leads among the channels, and their samples.

    Channels that the data set does not hold do not matter, whatever their rates and units are.

    Args:
      channels: all channels of a recording.
      rule: the leads that the data set holds.

    Returns:
      The positions, and float64 [time, lead] in microvolts; NaN for a missing sample, and where
      one lead begins later or ends earlier than another one.

    Raises:
      Refused: two channels are the same lead, or a lead has no gain or another rate or length.
    """
    if not channels:
        raise Refused("leads", "holds no signal; leave it out")
    positions = _needed(channels, rule)
    found = [channels[position] for position in positions]
    if not found:
        return [], np.zeros((0, 0))
    ends = [lead.start + len(lead.stored) for lead in found]
    _check_shape(found, max(ends))
    value_uv = np.full((max(ends), len(found)), np.nan)
    for column, (lead, end) in enumerate(zip(found, ends, strict=True)):
        value_uv[lead.start : end, column] = _in_uv(lead)
    return positions, value_uv


def rate_hz(channels: Sequence[Channel], rule: LeadRule) -> float:
    """Returns the sampling rate of the leads, which is one by `leads_uv`."""
    return channels[_needed(channels, rule)[0]].rate_hz


def to_stored(channels: Sequence[Channel], rule: LeadRule) -> StoredSignal:
    """Returns the stored form of a recording, at its own sampling rate.

    Raises:
      Refused: as in `leads_uv`, or a needed lead is absent or exceeds 16 bits.
    """
    positions, value_uv = leads_uv(channels, rule)
    try:
        found = leads.find([channel.name for channel in channels], ORIGIN, rule)
        held = {lead: position for lead, position in found.items() if position in positions}
        columns = {lead: value_uv[:, positions.index(held[lead])] for lead in held}
        return leads.complete(columns, ORIGIN, rule)
    except RecordingError as error:
        raise Refused(error.reason, str(error).removeprefix(f"{ORIGIN}: ")) from None


def _needed(channels: Sequence[Channel], rule: LeadRule) -> list[int]:
    """Returns the positions of leads that the data set holds or calculates others from."""
    try:
        columns = lead_columns([channel.name for channel in channels], "leads", dict(rule.names))
    except InputError as error:
        raise Refused("leads", str(error).removeprefix("leads: ")) from None
    needed = {*rule.kept}
    if LIMB_WEIGHTS.keys() & needed - columns.keys():
        needed |= LIMB_WEIGHTS.keys()
    return sorted(column for lead, column in columns.items() if lead in needed)


def _check_shape(channels: Sequence[Channel], samples: int) -> None:
    if not samples:
        raise Refused("leads", "holds no samples of a lead; leave it out")
    at_once = len({lead.start for lead in channels}) == 1
    if at_once and len({len(lead.stored) for lead in channels}) > 1:
        raise Refused("shape", "holds leads of different lengths; export it again")
    if len({lead.rate_hz for lead in channels}) > 1:
        raise Refused("shape", "holds leads of different rates; export it again")
    if len(channels) * samples > MOST_VALUES:
        raise Refused("length", f"holds over {MOST_VALUES} samples; export parts of it")


def _in_uv(lead: Channel) -> np.ndarray:
    if not np.isfinite([lead.gain, lead.offset]).all() or not lead.gain or not lead.unit:
        problem = f"lead {lead.name[:20]!r} has no gain, so that its numbers are no voltages"
        raise Refused("units", f"{problem}; export it again")
    unit = unit_name(lead.unit)
    if unit is None:
        problem = f"lead {lead.name[:20]!r} has units {lead.unit[:20]!r}"
        raise Refused("units", f"{problem}; export it in {', '.join(UV_PER_UNIT)}")
    return (np.asarray(lead.stored, np.float64) * lead.gain + lead.offset) * UV_PER_UNIT[unit]
