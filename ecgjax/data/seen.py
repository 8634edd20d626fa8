"""The recordings an encoder has been trained on: a compact set that its checkpoint carries.

Each waveform and each patient takes eight bytes: 40 MB for five million recordings. Among two
thousand other recordings, one is found in such a set by chance once in a billion times. The entries
are prefixes of hashes (waveform_hash and patient_id of records.parquet), so that the set tells
whether a given recording was seen, and nothing else about the recordings in it.
"""

import dataclasses

import numpy as np
import pyarrow

from ecgjax.data.hashes import distinct, first_digits
from ecgjax.data.records import Records
from ecgjax.errors import InputError

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

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(
            distinct(np.concatenate([self.waveforms, other.waveforms])),
            distinct(np.concatenate([self.patients, other.patients])),
        )


def seen_in(records: Records, indices: np.ndarray) -> Seen:
    """Returns the recordings and patients that training on `indices` sees."""
    return Seen(*(distinct(hashes) for hashes in _hashes(records, indices)))


def refuse_seen(seen: Seen, records: Records, indices: np.ndarray) -> None:
    """Refuses to test an encoder on recordings or patients that it was trained on.

    Raises:
      InputError: `indices` holds some of them.
    """
    waveforms, patients = _hashes(records, indices)
    _refuse_known("recordings", waveforms, seen.waveforms, records, indices)
    _refuse_known("patients", patients, seen.patients, records, indices)


def _refuse_known(
    kind: str, hashes: np.ndarray, known: np.ndarray, records: Records, indices: np.ndarray
) -> None:
    leaked = np.isin(hashes, known)
    if leaked.any():
        first = records.row(int(indices[np.argmax(leaked)]))
        raise InputError(
            f"{records.path}: the encoder was trained on {np.unique(hashes[leaked]).size} of the "
            f"{kind} that it would be tested on (split {first['split']}, first recording "
            f"{first['record_id']}); pre-train without them"
        )


def refuse_shared(records: Records) -> None:
    """Refuses a data set with a patient or a waveform in two splits; `prepare` writes no such set.

    Raises:
      InputError: the data set is one.
    """
    split = np.asarray(records.column("split").combine_chunks().cast(pyarrow.string()))
    everything = np.arange(len(records))
    for kind, hashes in zip(("waveform", "patient"), _hashes(records, everything), strict=True):
        order = np.argsort(hashes, kind="stable")
        same = np.diff(hashes[order]) == 0
        shared = same & (split[order][1:] != split[order][:-1])
        if shared.any():
            position = int(np.argmax(shared))
            first = records.row(int(order[position]))
            second = records.row(int(order[position + 1]))
            raise InputError(
                f"{records.path}: recordings {first['record_id']} ({first['split']}) and "
                f"{second['record_id']} ({second['split']}) are of one {kind}; "
                f"prepare the data set again"
            )


def _hashes(records: Records, indices: np.ndarray) -> list[np.ndarray]:
    """Returns uint64 [recording] for each of `HASHES`."""
    return [first_digits(records.column(name))[indices] for name in HASHES]
