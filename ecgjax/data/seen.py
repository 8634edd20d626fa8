"""The recordings an encoder has been trained on: a compact set that its checkpoint carries.

Each waveform and each patient takes eight bytes, each sketch 16: 120 MB for five million
recordings. Among two thousand other recordings, one is found in the hashes by chance once in a
billion times; of sketches see docs/limits.md. The entries are prefixes of hashes (waveform_hash and
patient_id of records.parquet) and sketches of the samples, so that the set tells whether a given
recording, or a copy of it, was seen, and nothing else about the recordings in it.
"""

import dataclasses

import numpy as np

from ecgjax.data.hashes import distinct, first_digits
from ecgjax.data.records import Records
from ecgjax.data.sketches import WORDS, distinct_rows

HASHES = ("waveform_hash", "patient_id")
"""Columns of records.parquet that hold hashes."""
_NONE = np.zeros(0, np.uint64)
_NO_SKETCHES = np.zeros((0, WORDS), np.uint64)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """A set of recordings and patients, as ascending uint64 [recording] and [patient]."""

    waveforms: np.ndarray
    patients: np.ndarray
    sketches: np.ndarray = dataclasses.field(default_factory=_NO_SKETCHES.copy)
    """Sketches of the recordings, uint64 [recording, 2]: what their copies share."""
    unsketched: int = 0
    """Recordings whose sketches are not known, of checkpoints that earlier versions wrote."""

    @classmethod
    def none(cls) -> "Seen":
        """Returns the empty set, for an encoder that was never trained."""
        return cls(_NONE, _NONE)

    def to_uint32(self) -> dict[str, np.ndarray]:
        """Returns the halves of the numbers as saved: JAX arrays have no 64-bit numbers.

        An empty set is saved as zeros, because Orbax saves no empty array.
        """
        return {
            "waveforms": _halves(self.waveforms),
            "patients": _halves(self.patients),
            "sketches": _halves(self.sketches),
            "unsketched": np.array([self.unsketched], np.uint32),
        }

    @classmethod
    def from_uint32(cls, halves: dict) -> "Seen":
        """Restores what `to_uint32` returned, or returned in an earlier version."""
        waveforms = _whole(halves["waveforms"])
        waveforms = waveforms[waveforms != 0]
        patients = _whole(halves["patients"])
        patients = patients[patients != 0]
        if "sketches" not in halves:
            return cls(waveforms, patients, unsketched=len(waveforms))
        sketches = _whole(halves["sketches"]).reshape(-1, WORDS)
        unsketched = int(np.asarray(halves["unsketched"]).reshape(-1)[0])
        return cls(waveforms, patients, sketches[sketches.any(1)], unsketched)

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(
            distinct(np.concatenate([self.waveforms, other.waveforms])),
            distinct(np.concatenate([self.patients, other.patients])),
            distinct_rows(np.concatenate([self.sketches, other.sketches])),
            self.unsketched + other.unsketched,
        )


def _halves(values: np.ndarray) -> np.ndarray:
    values = values if values.size else np.zeros(WORDS, np.uint64)
    return np.ascontiguousarray(values, np.uint64).reshape(-1).view(np.uint32)


def _whole(halves: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(halves).view(np.uint64)


def seen_in(records: Records, indices: np.ndarray) -> Seen:
    """Returns the recordings and patients that training on `indices` sees."""
    waveforms, patients = map(distinct, seen_hashes(records, indices))
    return Seen(waveforms, patients, distinct_rows(records.sketches[indices]))


def seen_hashes(records: Records, indices: np.ndarray) -> list[np.ndarray]:
    """Returns the hashes that `Seen` holds of each recording, uint64 [recording] for each of
    `HASHES`."""
    return [first_digits(records.column(name))[indices] for name in HASHES]
