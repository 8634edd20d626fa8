"""The recordings an encoder has been trained on: a compact set that its checkpoint carries.

Each waveform and each patient takes eight bytes: 40 MB for five million recordings. Among two
thousand other recordings, one is found in such a set by chance once in a billion times. The entries
are prefixes of hashes (waveform_hash and patient_id of records.parquet), so that the set tells
whether a given recording was seen, and nothing else about the recordings in it.
"""

import dataclasses

import numpy as np

from ecgjax.data.hashes import distinct, first_digits
from ecgjax.data.records import Records

HASHES = ("waveform_hash", "patient_id")
"""Columns of records.parquet that hold hashes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """A set of recordings and patients, as ascending uint64 [recording] and [patient]."""

    waveforms: np.ndarray
    patients: np.ndarray

    @classmethod
    def none(cls) -> "Seen":
        """Returns the empty set, for an encoder that was never trained."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    def to_uint32(self) -> dict[str, np.ndarray]:
        """Returns the halves of the hashes as saved: JAX arrays have no 64-bit numbers.

        An empty set is saved as one 0, because Orbax saves no empty array.
        """
        return {
            name: np.ascontiguousarray(values if values.size else [0], np.uint64).view(np.uint32)
            for name, values in vars(self).items()
        }

    @classmethod
    def from_uint32(cls, halves: dict) -> "Seen":
        """Restores what `to_uint32` returned."""
        sets = {name: np.asarray(values).view(np.uint64) for name, values in halves.items()}
        return cls(**{name: values[values != 0] for name, values in sets.items()})

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(
            distinct(np.concatenate([self.waveforms, other.waveforms])),
            distinct(np.concatenate([self.patients, other.patients])),
        )


def seen_in(records: Records, indices: np.ndarray) -> Seen:
    """Returns the recordings and patients that training on `indices` sees."""
    return Seen(*(distinct(hashes) for hashes in seen_hashes(records, indices)))


def seen_hashes(records: Records, indices: np.ndarray) -> list[np.ndarray]:
    """Returns what `Seen` holds of each recording, uint64 [recording] for each of `HASHES`."""
    return [first_digits(records.column(name))[indices] for name in HASHES]
