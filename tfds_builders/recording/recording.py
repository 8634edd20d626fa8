"""Metadata of a recording, known before its signal is read, and the configs of a builder."""

import dataclasses
import datetime
from typing import Any

import tensorflow_datasets as tfds

from ecgjax.signals import LEADS
from tfds_builders.recording.leads import LeadRule

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """Metadata of one recording of a source, known before its signal is read."""

    record_id: str
    source_patient_id: str
    """The patient's identifier in the source. Only its keyed hash is ever written."""
    split: str
    """One of `SPLITS`, the same for all recordings of a patient."""
    location: Any
    """Everything that `read_recording` needs to find the signal; picklable."""
    source_file: str = ""
    """Name of the file for the table beside the user's key; needed only where the key is secret."""
    recorded_at: datetime.datetime | None = None
    age: float | None = None
    """Age in years."""
    sex: str | None = None
    """"female" or "male"."""
    site: str | None = None
    device: str | None = None
    fold: int | None = None
    """The source's own fold for cross-validation."""
    labels: tuple[str, ...] = ()
    """SCP-ECG statement codes as PTB-XL writes them."""
    extra: tuple[tuple[str, str], ...] = ()
    """(column, text) of further columns of the user's table that are kept on request."""
    problem: tuple[str, str] | None = None
    """(reason, message) if the recording is known to be rejected before its signal is read."""


@dataclasses.dataclass(eq=False, kw_only=True)
class RecordingsConfig(tfds.core.BuilderConfig):
    """A variant of a data set. A field changed by `prepare` becomes part of its name and folder."""

    rate_hz: float
    """Sampling rate of the stored recordings, in Hz."""
    samples: int
    """Samples of a stored recording."""
    limit: int | None = None
    """Number of recordings to keep of each split, the first ones; None keeps all."""
    leads: tuple[str, ...] = LEADS
    """Leads that the data set holds; the others are missing samples."""
    allow_missing_leads: bool = False
    """Accept recordings that lack some of `leads`."""
    lead_names: tuple[tuple[str, str], ...] = ()
    """(name in the source, lead) for names that are in no table."""
    pad_from_s: float | None = None
    """Recordings of at least this length are filled up with missing samples; None: of `samples`."""
    columns: tuple[str, ...] = ()
    """Further columns of the user's recordings.csv to keep in records.parquet."""

    @property
    def lead_rule(self) -> LeadRule:
        """The leads of the data set, for `leads.find`."""
        return LeadRule(self.leads, self.allow_missing_leads, self.lead_names)

    @property
    def required_leads(self) -> tuple[str, ...]:
        """Leads that every recording has."""
        return () if self.allow_missing_leads else self.leads


def rates(*rates_hz: int) -> list[RecordingsConfig]:
    """Returns one config per sampling rate, with recordings of 10 s."""
    return [
        RecordingsConfig(
            name=f"{rate}hz", rate_hz=rate, samples=10 * rate, description=f"10 s at {rate} Hz."
        )
        for rate in rates_hz
    ]
