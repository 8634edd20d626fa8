"""Patient pairs: for every recording another one of the same patient, where there is one."""

import numpy as np


class PatientPairs:
    """Draws a partner for each recording.

    An epoch takes each recording once as a pair's first view. Its second view is another recording of the same patient,
    each equally likely, or the recording itself where the patient has no other.
    """

    def __init__(self, indices: np.ndarray, patients: np.ndarray):
        """
        Args:
          indices: the recordings that may be used, [recording].
          patients: patient number of every recording of the data set.
        """
        # Compressed rows: the recordings sorted by patient, and where each patient's begin. 5 million take 80 MB.
        owner = patients[indices]
        order = np.argsort(owner, kind="stable")
        self._by_patient = np.asarray(indices)[order]
        starts = np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0])
        self._run = np.empty(len(indices), np.int32)
        self._run[order] = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(indices)]))
        self._place = np.empty(len(indices), np.int32)
        self._place[order] = np.arange(len(indices))
        self._bounds = np.r_[starts, len(indices)]

    @property
    def patients(self) -> int:
        """Number of patients."""
        return len(self._bounds) - 1

    def draw(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 [position, 2]: the recordings at `positions` of `indices`, and a partner for each."""
        run, place = self._run[positions], self._place[positions]
        first, others = self._bounds[run], self._bounds[run + 1] - self._bounds[run] - 1
        partner = first + (rng.random(len(positions)) * others).astype(np.int64)
        partner += (partner >= place) & (others > 0)  # skips the recording itself
        return self._by_patient[np.stack([place, partner], axis=1)]
