"""Damaged recordings: which one it is, and substitutes for the few that a run may leave out."""

import threading
from collections.abc import Callable

import numpy as np

from ecgjax.data import files
from ecgjax.data.shards import RecordingDamaged
from ecgjax.errors import InputError, counted


class Substitutes:
    """The recordings of a split, with others in place of damaged ones.

    Which recording takes the place of another depends on the damage and on nothing else, so that a
    run that is resumed, and one with all recordings in device memory, sees the same batches. It is
    the next recording of the same patient. All recordings of a patient without any sound one have
    the same substitute, which counts as theirs, so that two patients are never a pair. A line on
    standard error names each damaged recording.

    Attributes:
      damaged: numbers of the damaged recordings found so far.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        patients: np.ndarray,
        indices: np.ndarray,
        share: float,
    ):
        """
        Args:
          read: reads recordings, int16 [*shape of indices, time, lead].
          patients: patient number of every recording, [recording].
          indices: the recordings of the split, ascending.
          share: largest share of them that may be damaged.

        Raises:
          InputError: the share is not one.
        """
        if not 0 <= share <= 1:
            raise InputError(f"--skip-damaged {share}: give a share of the recordings, 0 to 1")
        self._read = read
        self._patients = patients
        self._indices = indices
        self._allowed = int(share * len(indices))
        self._share = share
        self._lock = threading.Lock()
        self._taken: dict[int, int] = {}
        self.damaged: set[int] = set()

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Reads int16 [*shape of indices, time, lead].

        Raises:
          RecordingDamaged: a recording of another split is damaged.
          InputError: more recordings are damaged than may be.
        """
        wanted = indices.reshape(-1).tolist()
        while True:
            sound = np.array([self._sound(index) for index in wanted], int)
            try:
                return self._read(sound.reshape(indices.shape))
            except RecordingDamaged:
                for index in sound.tolist():
                    self._is_sound(index)

    def _sound(self, index: int) -> int:
        """Returns the recording itself, or the one in place of it if it is known to be damaged."""
        if index not in self.damaged:
            return index
        taken = self._taken.get(index, index)
        if taken in self.damaged:
            taken = self._substitute(index)
            self._taken[index] = taken
        return taken

    def _is_sound(self, index: int) -> bool:
        """Tells whether a recording can be read; notes one that cannot."""
        if index in self.damaged:
            return False
        try:
            self._read(np.array([index]))
        except RecordingDamaged as error:
            if not self._is_own(index):
                raise
            with self._lock:
                self._note(index, error)
            return False
        return True

    def _note(self, index: int, error: RecordingDamaged) -> None:
        if index in self.damaged:  # another thread was faster
            return
        self.damaged.add(index)
        found = f"{len(self.damaged):,} of {counted(len(self._indices), 'recording')} so far"
        if len(self.damaged) > self._allowed:
            raise InputError(
                f"{error.problem}; {found}, more than --skip-damaged {self._share:g} allows; "
                f"prepare the data set again"
            )
        files.warn(f"{error.problem}; left out, {found}")

    def _substitute(self, index: int) -> int:
        """Returns the recording that takes the place of a damaged one."""
        is_own = self._patients[self._indices] == self._patients[index]
        own = _after(self._indices[is_own], index)
        # The search among other patients begins at the same place for all recordings of this one.
        others = _after(self._indices[~is_own], int(self._indices[is_own][0]))
        for other in [*own, *others]:
            if self._is_sound(other):
                return other
        raise InputError("no recording of the split can be read; prepare the data set again")

    def _is_own(self, index: int) -> bool:
        place = int(np.searchsorted(self._indices, index))
        return place < len(self._indices) and self._indices[place] == index


def _after(ascending: np.ndarray, index: int) -> list[int]:
    """Returns the numbers after `index`, then those from the beginning up to it."""
    place = int(np.searchsorted(ascending, index, side="right"))
    return np.roll(ascending, -place).tolist()
