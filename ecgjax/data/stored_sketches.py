"""Sketches of a data set's recordings: read from its table, or computed from its samples."""

import functools
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow

from ecgjax.data import files, sketches
from ecgjax.data.hashes import parse
from ecgjax.data.shards import RecordingDamaged
from ecgjax.data.table import SKETCH

_AT_ONCE = 128
"""Recordings that are read at once."""
_MANY = 2000
"""Recordings from which on a warning explains why it takes time."""


class _Records(Protocol):
    """Part of a prepared data set that sketches need."""

    path: Path
    rate_hz: float

    def __len__(self) -> int: ...

    @property
    def valid_samples(self) -> np.ndarray: ...

    def column(self, name: str) -> pyarrow.ChunkedArray: ...

    def read(self, indices: np.ndarray) -> np.ndarray: ...


class StoredSketches:
    """Sketches by index. Those of data sets of earlier versions are computed when asked for.

    Attributes:
      are_stored: whether the table has them.
    """

    def __init__(self, records: _Records, are_stored: bool):
        self._records = records
        self.are_stored = are_stored
        self._computed = np.zeros((len(records), sketches.WORDS), np.uint64)
        self._is_computed = np.zeros(len(records), bool)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Returns uint64 [len(indices), WORDS].

        Raises:
          InputError: the table or a recording is damaged.
        """
        if self.are_stored:
            return self._stored[indices]
        absent = np.unique(indices[~self._is_computed[indices]])
        if len(absent) >= _MANY:
            path = self._records.path
            files.warn(
                f"{path}: has no sketches, which takes a moment for {len(absent):,} recordings; "
                f"store them: python -m ecgjax.launch.migrate --data {path}"
            )
        for start in range(0, len(absent), _AT_ONCE):
            rows = absent[start : start + _AT_ONCE]
            self._computed[rows] = self._sketches_or_zeros(rows)
            self._is_computed[rows] = True
        return self._computed[indices]

    def _sketches_or_zeros(self, indices: np.ndarray) -> np.ndarray:
        """Returns sketches, 0 for damaged recordings, which nobody can train or test on."""
        try:
            return self.compute(indices)
        except RecordingDamaged:
            if len(indices) == 1:
                return np.zeros((1, sketches.WORDS), np.uint64)
            return np.concatenate([self._sketches_or_zeros(one) for one in indices[:, None]])

    def compute(self, indices: np.ndarray) -> np.ndarray:
        """Returns the sketches of the samples, whatever the table has."""
        records = self._records
        return sketches.sketch(
            records.read(indices),
            rate_hz=records.rate_hz,
            valid_samples=records.valid_samples[indices],
        )

    def compute_all(self) -> np.ndarray:
        """Returns the sketches of all recordings, whatever the table has."""
        every = np.arange(len(self._records))
        parts = [every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE)]
        return np.concatenate([self.compute(rows) for rows in parts])

    @functools.cached_property
    def _stored(self) -> np.ndarray:
        octets = parse(self._records.column(SKETCH))
        return octets.view(">u8").astype(np.uint64)
