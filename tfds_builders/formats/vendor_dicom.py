"""DICOM waveforms: the multiplex groups of a file that are recordings with most of the leads.

Source: https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.10.9.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ecgdatakit.parsing.parsers import dicom_waveform

from tfds_builders.formats.vendor_content import (
    DERIVED,
    Channel,
    Content,
    Refused,
    Rhythm,
    known_leads,
    later,
)
from tfds_builders.formats.vendor_record import keep_names, to_channels, to_content
from tfds_builders.recording.leads import LeadRule

keep_names(dicom_waveform)
ORIGINAL = "ORIGINAL"


class Group(NamedTuple):
    """A multiplex group, or several that were recorded at the same time."""

    channels: list[Channel]
    offset_s: float
    """Time after the start of the acquisition."""
    leads: frozenset[str]

    @property
    def shape(self) -> tuple[int, float, float]:
        first = self.channels[0]
        return len(first.stored), first.rate_hz, self.offset_s


class _Parser(dicom_waveform.DICOMWaveformParser):
    """Remembers all groups, since ecgdatakit returns only the first."""

    def __init__(self) -> None:
        self.groups: list[tuple[dict[str, Any], Any]] = []

    def _read_group(self, wf: Any, index: int, little_endian: bool) -> dict | None:
        group = super()._read_group(wf, index, little_endian)
        if group is not None:
            self.groups.append((group, wf))
        return group


def read(path: Path, rule: LeadRule) -> Content:
    """Returns the recordings of a file: the groups with most of the twelve leads.

    Groups of equal length, rate and time are one recording if each has leads that the others lack.
    Medians, derived groups and those with fewer leads, such as a rhythm strip, are left out.

    Raises:
      Refused: there is no group but medians.
    """
    parser = _Parser()
    record = parser.parse(path)
    content = to_content(record)
    groups = [_group(data, item, rule) for data, item in _rhythms(parser.groups)]
    if not groups:
        raise Refused("leads", "holds median beats and no recording; leave it out")
    joined = _join(groups, rule)
    most = max(_worth(group, rule) for group in joined)
    chosen = [group for group in joined if _worth(group, rule) == most]
    for group in sorted(chosen, key=lambda group: group.offset_s):
        time = later(record.recording.date, group.offset_s)
        content.rhythms.append(Rhythm(group.channels, time))
    if len(groups) < len(parser.groups):
        content.notes.append(DERIVED)
    if len(chosen) < len(joined):
        content.notes.append("signals with fewer leads, such as a rhythm strip, were left out")
    return content


def _rhythms(groups: Sequence[tuple[dict[str, Any], Any]]) -> list[tuple[dict[str, Any], Any]]:
    """Returns the groups that are no median and, if any is original, not derived."""
    rhythms = [(group, item) for group, item in groups if not group["is_median"]]
    originals = [
        (group, item)
        for group, item in rhythms
        if str(item.get("WaveformOriginality") or ORIGINAL).strip().upper() == ORIGINAL
    ]
    return originals or rhythms


def _group(data: dict[str, Any], item: Any, rule: LeadRule) -> Group:
    channels = to_channels(data["leads"], data["sampling_frequency"])
    offset_s = float(item.get("MultiplexGroupTimeOffset") or 0) / 1000
    return Group(channels, offset_s, frozenset(known_leads(channels, rule)))


def _worth(group: Group, rule: LeadRule) -> tuple[int, int]:
    """Returns how many leads of the data set a group has, and how many leads at all."""
    return len(group.leads & {*rule.kept}), len(group.leads)


def _join(groups: Sequence[Group], rule: LeadRule) -> list[Group]:
    """Joins groups that were recorded at the same time and complete each other.

    Those with many leads come first, so that a strip of lead II does not take the place of the
    group with all limb leads.
    """
    joined: list[Group] = []
    for group in sorted(groups, key=lambda group: -len(group.leads)):
        for index, other in enumerate(joined):
            if group.leads and other.shape == group.shape and not other.leads & group.leads:
                channels = [*other.channels, *group.channels]
                leads = frozenset(known_leads(channels, rule))
                joined[index] = Group(channels, other.offset_s, leads)
                break
        else:
            joined.append(group)
    return joined
