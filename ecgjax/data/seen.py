"""The recordings an encoder has been trained on: a compact set that its checkpoint carries.

Each waveform and each patient takes eight bytes: 40 MB for five million recordings. Among two
thousand other recordings, one is found in such a set by chance once in a billion times. The entries
are prefixes of hashes (waveform_hash and patient_id of records.parquet), so that the set tells
whether a given recording was seen, and nothing else about the recordings in it.
"""

import dataclasses

import numpy as np
import pyarrow

from ecgjax.data.records import Records
from ecgjax.errors import InputError

DIGITS = 32
"""Hexadecimal digits of a hash in the table."""
PREFIX = 16
"""Hexadecimal digits that are stored."""
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


def distinct(hashes: np.ndarray) -> np.ndarray:
    """Returns the distinct hashes, ascending. numpy.unique takes 70 times as long for millions."""
    ordered = np.sort(hashes)
    return ordered[np.diff(ordered, prepend=ordered[:1] + np.uint64(1)) != 0]


def first_digits(column: pyarrow.ChunkedArray) -> np.ndarray:
    """Parses the first `PREFIX` digits of a column of hexadecimal hashes, to uint64 [row].

    Raises:
      InputError: a hash does not have `DIGITS` digits.
    """
    return np.concatenate(
        [_parse_chunk(chunk) for chunk in column.chunks] or [np.zeros(0, np.uint64)]
    )


def _parse_chunk(chunk: pyarrow.StringArray) -> np.ndarray:
    """Parses one chunk of `first_digits` from its memory; strings take a minute for millions."""
    if not len(chunk):
        return np.zeros(0, np.uint64)
    _, ends, characters = chunk.buffers()
    ends = np.frombuffer(ends, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    if (np.diff(ends) != DIGITS).any():
        raise InputError(f"a hash without {DIGITS} digits; prepare the data set again")
    rows = np.frombuffer(characters, np.uint8)[ends[0] : ends[-1]].reshape(-1, DIGITS)
    digits = rows[:, :PREFIX]
    nibbles = (digits & 15) + 9 * (digits >> 6)  # 0-9, a-f
    octets = np.ascontiguousarray(nibbles[:, ::2] << 4 | nibbles[:, 1::2])
    return octets.view(">u8").astype(np.uint64)[:, 0]
