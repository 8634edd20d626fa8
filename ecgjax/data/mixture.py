"""Several prepared data sets as one, for pre-training."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgjax.data.records import Records
from ecgjax.data.seen import Seen, distinct, first_digits, seen_in
from ecgjax.errors import InputError


class Mixture:
    """Recordings of several data sets by number, those of the first data set first.

    Attributes:
      members: the data sets.
      name: their names, with + between.
      rate_hz: sampling rate in Hz, the same for all.
      samples: samples of a recording, the same for all.
    """

    def __init__(self, paths: Sequence[str | Path]):
        """
        Args:
          paths: folders that `prepare` wrote, one or more.

        Raises:
          InputError: one cannot be opened, is given twice, or differs from the first in rate or length.
        """
        self.members = [Records(path) for path in paths]
        first = self.members[0]
        for member in self.members[1:]:
            if (member.rate_hz, member.samples) != (first.rate_hz, first.samples):
                raise InputError(
                    f"{member.path}: {member.samples} samples at {member.rate_hz:g} Hz, but {first.path} has "
                    f"{first.samples} at {first.rate_hz:g} Hz; prepare them with configs of one rate and length"
                )
        if len({member.path.resolve() for member in self.members}) < len(self.members):
            raise InputError(
                f"--data {' '.join(map(str, paths))}: one is given twice; leave it out, or give --weights"
            )
        self.name = "+".join(member.name for member in self.members)
        self.rate_hz, self.samples = first.rate_hz, first.samples
        self._starts = np.cumsum([0, *map(len, self.members)])

    @property
    def path(self) -> str:
        """The folders, for messages."""
        return " ".join(str(member.path) for member in self.members)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def split(self, name: str) -> np.ndarray:
        """Indices of a split's recordings, ascending."""
        return np.concatenate(self.parts(name))

    def parts(self, name: str) -> list[np.ndarray]:
        """Indices of a split's recordings for each data set."""
        return [
            start + member.split(name)
            for start, member in zip(self._starts, self.members, strict=False)
        ]

    @functools.cached_property
    def patients(self) -> np.ndarray:
        """int32 [recording]: equal numbers mean the same patient, also of two data sets hashed under one key."""
        if len(self.members) == 1:
            return self.members[0].patients
        hashes = np.concatenate(
            [first_digits(member.column("patient_id")) for member in self.members]
        )
        return np.searchsorted(distinct(hashes), hashes).astype(np.int32)

    @property
    def recorded_at(self) -> np.ndarray:
        """datetime64[s] [recording]: when it was made, NaT where that is not known."""
        return np.concatenate([member.recorded_at for member in self.members])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash over all recordings in their order."""
        own = [member.fingerprint for member in self.members]
        return own[0] if len(own) == 1 else hashlib.sha256("".join(own).encode()).hexdigest()[:32]

    def seen(self, name: str) -> Seen:
        """What training on a split sees."""
        seen = Seen.none()
        for member in self.members:
            seen |= seen_in(member, member.split(name))
        return seen

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """int16 [*shape of indices, time, lead], 1 uV per LSB, in the order asked for."""
        indices = np.asarray(indices)
        rows = indices.reshape(-1)
        out = np.empty((len(rows), self.samples, 12), np.int16)
        whose = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(whose):
            mine = whose == number
            out[mine] = self.members[number].read(rows[mine] - self._starts[number])
        return out.reshape(*indices.shape, self.samples, 12)
