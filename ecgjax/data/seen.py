"""Which recordings an encoder has been trained on: a compact set that its checkpoint carries.

Eight bytes for each waveform and for each patient: 40 MB for five million recordings, in which two thousand others are
found by chance once in a billion times. Both are prefixes of hashes (waveform_hash and patient_id of records.parquet),
so that the set tells whether a recording at hand was seen, and nothing of one that is not.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from ecgjax.data.records import Records
from ecgjax.signals import InputError

functions: Any = pyarrow.compute  # they are made at run time
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
        return Seen(np.union1d(self.waveforms, other.waveforms), np.union1d(self.patients, other.patients))


def seen_in(records: Records, indices: np.ndarray) -> Seen:
    """Those that training on `indices` sees."""
    waveforms, patients = _hashes(records, indices)
    return Seen(np.unique(waveforms), np.unique(patients))


def refuse_seen(seen: Seen, records: Records, indices: np.ndarray) -> None:
    """Refuses to test on recordings, or on patients, that an encoder was trained on.

    Raises:
      InputError: there are such in `indices`.
    """
    waveforms, patients = _hashes(records, indices)
    for what, mine, theirs in (("recordings", waveforms, seen.waveforms), ("patients", patients, seen.patients)):
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


def first_digits(column: pyarrow.ChunkedArray) -> np.ndarray:
    """uint64 [row] of a column of hexadecimal hashes."""
    digits: list[bytes] = []
    for chunk in column.chunks:
        short: Any = functions.utf8_slice_codeunits(chunk, 0, 16)
        if len(short):  # its characters, all of 16 a row, as they lie in memory
            start = 16 * short.offset
            digits.append(bytes.fromhex(short.buffers()[2][start : start + 16 * len(short)].to_pybytes().decode()))
    return np.frombuffer(b"".join(digits), ">u8").astype(np.uint64)
