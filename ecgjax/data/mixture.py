"""Several prepared data sets as one, for pre-training."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgjax.data import files
from ecgjax.data.damage import Substitutes
from ecgjax.data.hashes import distinct, first_digits
from ecgjax.data.records import Records
from ecgjax.data.seen import Seen, seen_in
from ecgjax.errors import InputError
from ecgjax.signals import LEADS


class Mixture:
    """Recordings of several data sets by index; those of the first data set come first.

    Attributes:
      members: the data sets.
      name: their names, joined by +.
      rate_hz: sampling rate in Hz, the same for all.
      samples: samples of a recording, the same for all.
      leads: leads that at least one data set holds.
    """

    def __init__(self, paths: Sequence[str | Path], skip_damaged: float = 0.0):
        """Opens all data sets. If their leads differ, a line on standard error says so.

        Args:
          paths: folders that `prepare` wrote, one or more.
          skip_damaged: largest share of the training recordings that may be damaged; `read` puts
            others in their place, see `Substitutes`.

        Raises:
          InputError: one cannot be opened, is given twice, or differs from the first in rate or
            length.
        """
        self.members = [Records(path) for path in paths]
        first = self.members[0]
        for member in self.members[1:]:
            if (member.rate_hz, member.samples) != (first.rate_hz, first.samples):
                raise InputError(
                    f"{member.path}: {member.samples} samples at {member.rate_hz:g} Hz, but "
                    f"{first.path} has {first.samples} at {first.rate_hz:g} Hz; prepare them with "
                    f"configs of one rate and length"
                )
        if len({member.path.resolve() for member in self.members}) < len(self.members):
            raise InputError(
                f"--data {' '.join(map(str, paths))}: one is given twice; leave it out, or give "
                f"--weights"
            )
        self.name = "+".join(member.name for member in self.members)
        self.rate_hz = first.rate_hz
        self.samples = first.samples
        self.leads = tuple(
            lead for lead in LEADS if any(lead in member.leads for member in self.members)
        )
        for member in self.members:
            if absent := [lead for lead in self.leads if lead not in member.leads]:
                files.warn(
                    f"{member.path}: lacks {', '.join(absent)}, which another data set holds; "
                    f"they are missing samples in its recordings"
                )
        self._starts = np.cumsum([0, *map(len, self.members)])
        self._substitutes: Substitutes | None = None
        if skip_damaged:
            train = self.split("train")
            self._substitutes = Substitutes(self._read, self.patients, train, skip_damaged)

    @property
    def path(self) -> str:
        """The folders, for messages."""
        return " ".join(str(member.path) for member in self.members)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def split(self, name: str) -> np.ndarray:
        """Returns the indices of a split's recordings, ascending."""
        return np.concatenate(self.parts(name))

    def parts(self, name: str) -> list[np.ndarray]:
        """Returns the indices of a split's recordings, one array for each data set."""
        return [
            start + member.split(name)
            for start, member in zip(self._starts, self.members, strict=False)
        ]

    @functools.cached_property
    def patients(self) -> np.ndarray:
        """Patient number of each recording, int32 [recording].

        A patient has one number in all data sets that were hashed under the same key.
        """
        if len(self.members) == 1:
            return self.members[0].patients
        hashes = np.concatenate(
            [first_digits(member.column("patient_id")) for member in self.members]
        )
        return np.searchsorted(distinct(hashes), hashes).astype(np.int32)

    @property
    def recorded_at(self) -> np.ndarray:
        """Time of each recording, datetime64[s] [recording]; NaT if it is not known."""
        return np.concatenate([member.recorded_at for member in self.members])

    @property
    def valid_samples(self) -> np.ndarray:
        """Samples of each recording up to its last one, int32 [recording]; the rest is padding."""
        return np.concatenate([member.valid_samples for member in self.members])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all recordings in their order."""
        hashes = [member.fingerprint for member in self.members]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()[:32]

    def seen(self, name: str) -> Seen:
        """Returns the recordings and patients that training on a split sees."""
        seen = Seen.none()
        for member in self.members:
            seen |= seen_in(member, member.split(name))
        return seen

    def place(self, index: int) -> tuple[Path, str]:
        """Returns the shard and the record id of a recording."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.members[number].place(int(index - self._starts[number]))

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Reads int16 [*shape of indices, time, lead], 1 uV per LSB, in the order of `indices`.

        Raises:
          RecordingDamaged: a recording is damaged, and none may be.
          InputError: too many are damaged, or a shard does not answer.
        """
        indices = np.asarray(indices)
        return self._substitutes.read(indices) if self._substitutes else self._read(indices)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        rows = indices.reshape(-1)
        out = np.empty((len(rows), self.samples, len(LEADS)), np.int16)
        members = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(members):
            chosen = members == number
            out[chosen] = self.members[number].read(rows[chosen] - self._starts[number])
        return out.reshape(*indices.shape, *out.shape[1:])
