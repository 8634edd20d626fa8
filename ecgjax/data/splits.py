"""The recordings that a model is trained on, validated on and tested on."""

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np
import pyarrow
from sklearn.model_selection import StratifiedGroupKFold

from ecgjax.data.records import SPLITS, Records
from ecgjax.data.seen import seen_hashes
from ecgjax.errors import InputError

LEAST_FOLDS = 3
"""Smallest number of folds: one is tested, one is for validation, the others are trained on."""
LEFT_OUT = -1
"""Number of the fold of a recording that is in none."""
_NONE = np.zeros(0, int)


@dataclasses.dataclass(frozen=True, eq=False)
class Splits:
    """A division of a data set's recordings into train, validation and test."""

    records: Records
    """The prepared data set."""
    parts: Mapping[str, np.ndarray] | None = None
    """Numbers of the recordings of each split, ascending; None: the splits of the data set."""
    origin: str = ""
    """Origin of `parts` for messages: a file, or "fold 2 of 5"."""

    def indices(self, name: str) -> np.ndarray:
        """Returns the numbers of a split's recordings, ascending.

        Raises:
          InputError: the split has no recording.
        """
        if self.parts is None:
            return self.records.split(name)
        indices = self.parts.get(name, _NONE)
        if not len(indices):
            raise InputError(f"{self.origin}: no recording in split {name!r}; give it some")
        return indices

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that have recordings, in the order of `SPLITS`."""
        if self.parts is None:
            present = set(self.records.column("split").unique().to_pylist())
        else:
            present = {name for name, indices in self.parts.items() if len(indices)}
        return tuple(name for name in SPLITS if name in present)

    def refuse_shared(self) -> None:
        """Refuses splits that share a patient or a waveform; `prepare` writes no such data set.

        Raises:
          InputError: they do. The message names two recordings.
        """
        codes = self._codes()
        used = np.flatnonzero(codes >= 0)
        for kind, hashes in zip(
            ("waveform", "patient"), seen_hashes(self.records, used), strict=True
        ):
            order = np.argsort(hashes, kind="stable")
            rows = used[order]
            shared = (np.diff(hashes[order]) == 0) & (np.diff(codes[rows]) != 0)
            if shared.any():
                place = int(np.argmax(shared))
                self._refuse_pair(kind, rows[place], rows[place + 1], codes)

    def _codes(self) -> np.ndarray:
        """Returns the number of each recording's split in `SPLITS`, -1 for none, [recording]."""
        if self.parts is None:
            column = self.records.column("split").combine_chunks().cast(pyarrow.string())
            names = np.asarray(column)
            return np.select([names == name for name in SPLITS], range(len(SPLITS)), LEFT_OUT)
        codes = np.full(len(self.records), LEFT_OUT)
        for code, name in enumerate(SPLITS):
            codes[self.parts.get(name, _NONE)] = code
        return codes

    def _refuse_pair(self, kind: str, first: int, second: int, codes: np.ndarray) -> None:
        ids = self.records.column("record_id")
        pair = [f"{ids[row]} ({SPLITS[codes[row]]})" for row in map(int, (first, second))]
        remedy = f"give both one split in {self.origin}"
        if self.parts is None:
            remedy = "prepare the data set again"
        raise InputError(
            f"{self.origin or self.records.path}: recordings {pair[0]} and {pair[1]} are of one "
            f"{kind}; {remedy}"
        )


def divide(
    records: Records, indices: np.ndarray, strata: np.ndarray, number: int, *, seed: int = 0
) -> np.ndarray:
    """Divides recordings into folds, all recordings of a patient into one.

    Args:
      records: the data set.
      indices: recordings to divide, [recording].
      strata: class of each of them; every fold has its share of each class, [recording].
      number: number of folds.
      seed: random seed.

    Returns:
      Fold of each recording of the data set from 0, LEFT_OUT for others, int [all recordings].

    Raises:
      InputError: there are fewer patients than folds, or too few folds.
    """
    patients = records.patients[indices]
    if number < LEAST_FOLDS:
        raise InputError(
            f"--folds {number}: give {LEAST_FOLDS} or more, as one fold is tested and one is for "
            f"validation"
        )
    if (count := len(np.unique(patients))) < number:
        raise InputError(f"--folds {number}: {records.path} has {count} patients; give fewer folds")
    splitter = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    folds = np.full(len(records), LEFT_OUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer cases than folds
        for fold, (_, tested) in enumerate(splitter.split(indices, strata, patients)):
            folds[indices[tested]] = fold
    return folds


def cross_validation(records: Records, folds: np.ndarray, origin: str = "") -> list[Splits]:
    """Returns one division for each fold: it is tested, and the next one is for validation.

    Args:
      records: the data set.
      folds: fold of each recording from 0, LEFT_OUT for recordings in none, [recording].
      origin: origin of the folds for messages.
    """
    number = int(folds.max()) + 1
    divisions = []
    for fold in range(number):
        held_out = {"test": folds == fold, "validation": folds == (fold + 1) % number}
        trained = (folds != LEFT_OUT) & ~held_out["test"] & ~held_out["validation"]
        parts = {
            name: np.flatnonzero(rows) for name, rows in {"train": trained, **held_out}.items()
        }
        name = f"fold {fold + 1} of {number}"
        divisions.append(Splits(records, parts, f"{origin}: {name}" if origin else name))
    return divisions


def strata(cases: np.ndarray) -> np.ndarray:
    """Returns the class of each recording by which folds are balanced, int [recording].

    It is the rarest of its classes, or none of them.

    Args:
      cases: True for each class that a recording has, bool [recording, class].
    """
    rarest_first = np.argsort(cases.sum(0), kind="stable")
    ranked = cases[:, rarest_first]
    return np.where(ranked.any(1), ranked.argmax(1) + 1, 0)
