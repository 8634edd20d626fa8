"""Conversion of what ecgdatakit returns for a file to the form of `vendor_content`."""

from collections.abc import Sequence
from typing import Any

from tfds_builders.formats.vendor_content import DERIVED, Channel, Content, years


def keep_names(*modules: Any) -> None:
    """Makes parsers of ecgdatakit leave the name of a lead that occurs twice as it is.

    They would number it, so that the second one would be dropped as no lead.
    """
    for module in modules:
        module.unique_labels = list


def to_channels(leads: Sequence[Any], rate_hz: float | Sequence[float]) -> list[Channel]:
    """Returns the channels of ecgdatakit's leads.

    Args:
      leads: ecgdatakit.models.Lead.
      rate_hz: the exact sampling rate of all leads or of each, since ecgdatakit rounds it to
        whole Hz.
    """
    rates_hz = [rate_hz] * len(leads) if isinstance(rate_hz, int | float) else rate_hz
    return [
        Channel(
            name=str(lead.label),
            stored=lead.samples,
            rate_hz=float(rate),
            gain=float(lead.resolution),
            unit=str(lead.resolution_unit),
            offset=float(lead.offset),
            start=int(lead.annotations.get("start_sample", 1)) - 1,
        )
        for lead, rate in zip(leads, rates_hz, strict=True)
    ]


def to_content(record: Any) -> Content:
    """Returns the facts of an ecgdatakit.models.ECGRecord, without recordings."""
    person = record.patient
    content = Content(
        rhythms=[],
        patient=str(person.patient_id or ""),
        time=record.recording.date,
        birth=person.birth_date and person.birth_date.date(),
        age=None if person.age is None else float(person.age),
        sex=str(person.sex or ""),
    )
    if content.plausible_time is None and content.age == years(content.birth, content.time):
        content.age = None  # ecgdatakit calculated it from a date that is none
    if record.median_beats or record.leads_enhanced:
        content.notes.append(DERIVED)
    return content
