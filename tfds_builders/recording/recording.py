"""Metadata of a recording, known before its signal is read, and the configs of a builder."""

import dataclasses
import datetime
from typing import Any

import tensorflow_datasets as tfds

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


@dataclasses.dataclass(eq=False, kw_only=True)
class RecordingsConfig(tfds.core.BuilderConfig):
    """A variant of a data set. A field changed by `prepare` becomes part of its name and folder."""

    rate_hz: float
    """Sampling rate of the stored recordings, in Hz."""
    samples: int
    """Samples of a stored recording."""
    limit: int | None = None
    """Number of recordings to keep of each split, the first ones; None keeps all."""


def rates(*rates_hz: int) -> list[RecordingsConfig]:
    """Returns one config per sampling rate, with recordings of 10 s."""
    return [
        RecordingsConfig(
            name=f"{rate}hz", rate_hz=rate, samples=10 * rate, description=f"10 s at {rate} Hz."
        )
        for rate in rates_hz
    ]
