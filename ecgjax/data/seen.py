"""Which recordings an encoder has been trained on: a compact set that its checkpoint carries.

Eight bytes for each waveform and for each patient: 40 MB for five million recordings, in which two thousand others are
found by chance once in a billion times. Both are prefixes of hashes (waveform_hash and patient_id of records.parquet),
so that the set tells whether a recording at hand was seen, and nothing of one that is not.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow

from ecgjax.data.records import Records
from ecgjax.errors import InputError

DIGITS = 32
HASHES = ("waveform_hash", "patient_id")
"""Columns of records.parquet: hexadecimal hashes, of which the first 16 digits are kept."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """Recordings and patients, as ascending uint64 [recording] and [patient]."""

    waveforms: np.ndarray
    patients: np.ndarray

    @classmethod
    def none(cls) -> "Seen":
        """Of an encoder with initial weights."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    def __or__(self, other: "Seen") -> "Seen":
        mine, theirs = (self.waveforms, self.patients), (other.waveforms, other.patients)
        return Seen(*(distinct(np.concatenate(pair)) for pair in zip(mine, theirs, strict=True)))


def seen_in(records: Records, indices: np.ndarray) -> Seen:
    """Those that training on `indices` sees."""
    waveforms, patients = _hashes(records, indices)
    return Seen(distinct(waveforms), distinct(patients))


def refuse_seen(seen: Seen, records: Records, indices: np.ndarray) -> None:
    """Refuses to test on recordings, or on patients, that an encoder was trained on.

    Raises:
      InputError: there are such in `indices`.
    """
    waveforms, patients = _hashes(records, indices)
    for what, mine, theirs in (
        ("recordings", waveforms, seen.waveforms),
        ("patients", patients, seen.patients),
    ):
        known = np.isin(mine, theirs)
        if known.any():
            which = records.row(int(indices[np.argmax(known)]))
            raise InputError(
                f"{records.path}: the encoder was trained on {np.unique(mine[known]).size} of the {what} that it would "
                f"be tested on (split {which['split']}, first recording {which['record_id']}); pre-train without them"
            )


def refuse_shared(records: Records) -> None:
    """Refuses a data set of which a patient or a waveform is in two splits; `prepare` writes none such.

    Raises:
      InputError: it is one.
    """
    everything = np.arange(len(records))
    split = np.asarray(records.column("split").combine_chunks().cast(pyarrow.string()))
    for what, mine in zip(("waveform", "patient"), _hashes(records, everything), strict=True):
        order = np.argsort(mine, kind="stable")
        same = (np.diff(mine[order]) == 0) & (split[order][1:] != split[order][:-1])
        if same.any():
            first, second = (records.row(int(order[np.argmax(same) + k])) for k in (0, 1))
            raise InputError(
                f"{records.path}: recordings {first['record_id']} ({first['split']}) and {second['record_id']} "
                f"({second['split']}) are of one {what}; prepare the data set again"
            )


def _hashes(records: Records, indices: np.ndarray) -> Sequence[np.ndarray]:
    """uint64 [recording] for each of HASHES."""
    return [first_digits(records.column(name))[indices] for name in HASHES]


def distinct(hashes: np.ndarray) -> np.ndarray:
    """Ascending, each once: numpy.unique, which takes 70 times as long for millions of them."""
    ordered = np.sort(hashes)
    return ordered[np.diff(ordered, prepend=ordered[:1] + np.uint64(1)) != 0]


def first_digits(column: pyarrow.ChunkedArray) -> np.ndarray:
    """uint64 [row] of a column of hexadecimal hashes, 32 digits each."""
    return np.concatenate([_of_chunk(chunk) for chunk in column.chunks] or [np.zeros(0, np.uint64)])


def _of_chunk(chunk: pyarrow.StringArray) -> np.ndarray:
    """As above; the digits are read as they lie in memory, since a string each takes a minute for millions."""
    if not len(chunk):
        return np.zeros(0, np.uint64)
    _, ends, characters = chunk.buffers()
    ends = np.frombuffer(ends, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    if (np.diff(ends) != DIGITS).any():
        raise InputError(f"a hash that has not {DIGITS} digits; prepare the data set again")
    rows = np.frombuffer(characters, np.uint8)[ends[0] : ends[-1]].reshape(-1, DIGITS)[:, :16]
    nibbles = (rows & 15) + 9 * (rows >> 6)  # 0-9, a-f
    return (
        np.ascontiguousarray(nibbles[:, ::2] << 4 | nibbles[:, 1::2])
        .view(">u8")
        .astype(np.uint64)[:, 0]
    )
