"""What a data set says of a recording before its signal is read, and what the configs of its builder say."""

import dataclasses
import datetime
from typing import Any

import tensorflow_datasets as tfds

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording of a source, before its signal is read."""

    record_id: str
    source_patient_id: str
    """The patient's identifier in the source; it goes into the keyed hash and nowhere else."""
    split: str
    """One of `SPLITS`; all recordings of a patient are in the same."""
    location: Any
    """What `read_recording` needs to find it; picklable."""
    recorded_at: datetime.datetime | None = None
    age: float | None = None
    """In years."""
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
    """A variant of a data set. A field that `prepare` changes shows in the name, and so in the folder."""

    rate_hz: float
    """Sampling rate of the stored recordings, in Hz."""
    samples: int
    """Samples of a stored recording."""
    limit: int | None = None
    """Keep only the first so many recordings of each split."""


def rates(*rates_hz: int) -> list[RecordingsConfig]:
    """A config for each rate, of recordings of 10 s."""
    return [
        RecordingsConfig(
            name=f"{rate}hz", rate_hz=rate, samples=10 * rate, description=f"10 s at {rate} Hz."
        )
        for rate in rates_hz
    ]
