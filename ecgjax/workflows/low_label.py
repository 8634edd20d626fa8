"""Few labelled recordings: how many are wanted, which belong to a task, and how they are drawn."""

import dataclasses
import hashlib

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import Task
from ecgjax.outputs import Outputs
from ecgjax.train.runlog import console

LISTED = 5
"""Largest number of names in a message."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """An amount of labelled recordings; `Labels()` means all that are available."""

    count: int | None = None
    """Number of recordings, 1 or more; None: the share decides."""
    share: float = 1.0
    """Share of the available recordings, above 0 and up to 1 (all)."""

    def __post_init__(self):
        if not ((self.count is None or self.count >= 1) and 0 < self.share <= 1):
            raise InputError(f"{self}: give a count of 1 or more, or a share above 0 and up to 1")

    @classmethod
    def parse(cls, text: str) -> "Labels":
        """Reads an amount as every command takes it.

        Args:
          text: "all"; a share, which has a decimal point or ends in % ("0.1", "10%", "1.0"); or a
            count, which is a whole number ("100").

        Raises:
          InputError: the text is none of these.
        """
        try:
            if text == "all":
                return cls()
            if text.endswith("%"):
                return cls(share=float(text[:-1]) / 100)
            return cls(share=float(text)) if "." in text else cls(count=int(text))
        except ValueError as error:  # of InputError, too
            remedy = "give all, a count such as 100, or a share such as 0.1 or 10%"
            raise InputError(f"labels {text}: not an amount; {remedy}") from error

    def number(self, available: int, *, down: bool = False) -> int:
        """Returns the number of recordings; a count may exceed the available ones.

        Args:
          available: number of recordings to draw from.
          down: round a share down, not to the nearest number.

        Raises:
          InputError: a share of the available recordings is less than one.
        """
        if self.count is not None:
            return self.count
        number = int(self.share * available) if down else round(self.share * available)
        if not number:
            problem = (
                f"a share of {self.share:g} of {available} labelled recordings is less than one"
            )
            raise InputError(f"{problem}; give more labels")
        return number


ALL = Labels()


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledRecordings:
    """Recordings of a data set with their targets."""

    records: Records
    """The prepared data set."""
    indices: np.ndarray
    """Numbers of the recordings in it, [recording]."""
    targets: np.ndarray
    """float32 [recording, output], or the wave of each sample, uint8 [recording, time]."""

    @property
    def patients(self) -> np.ndarray:
        """Patient of each recording, [recording]."""
        return self.records.patients[self.indices]

    def take(self, positions: np.ndarray) -> "LabelledRecordings":
        """Returns the recordings at positions, or those of a mask."""
        return dataclasses.replace(
            self, indices=self.indices[positions], targets=self.targets[positions]
        )


def training_set(indices: np.ndarray, targets: np.ndarray) -> dict[str, str]:
    """Returns an entry for the config of a run whose splits or labels are the user's own.

    Such a run does not resume after they have changed.

    Args:
      indices: recordings to train on, [recording].
      targets: their targets, [recording, output].
    """
    digest = hashlib.sha256(np.asarray(indices, np.int64).tobytes() + targets.tobytes())
    return {"training_set": digest.hexdigest()[:16]}


def task_recordings(records: Records, task: Task, indices: np.ndarray) -> LabelledRecordings:
    """Returns those of the recordings that belong to a task, with their targets."""
    targets, belongs = task.targets(records, indices)
    return LabelledRecordings(records, indices[belongs], targets[belongs])


def absent_outputs(outputs: Outputs, targets: np.ndarray) -> list[str]:
    """Returns the labels or classes that no recording has, or all have; numbers with one value."""
    if not len(targets):
        return list(outputs.names)
    varied = np.nanmin(targets, 0, initial=np.inf) < np.nanmax(targets, 0, initial=-np.inf)
    return [name for name, varies in zip(outputs.names, varied, strict=True) if not varies]


def require_variety(labelled: LabelledRecordings, task: Task) -> None:
    """Refuses recordings for training that have the same targets, and names absent classes.

    Raises:
      InputError: no class has both cases and others among them, or all numbers are equal.
    """
    absent = absent_outputs(task.outputs, labelled.targets)
    names = ", ".join(absent[:LISTED]) + ", ..." * (len(absent) > LISTED)
    problem = (
        f"{labelled.records.path}: {len(labelled.indices)} recordings for training, none with (or "
        f"none without) {names}"
    )
    if len(absent) == len(task.outputs):
        remedy = f"choose another task than {task.name}, other splits or more labels"
        raise InputError(f"{problem}; {remedy}")
    if absent:
        console.print(f"{problem}; the model does not learn them")


def draw_labelled(
    targets: np.ndarray,
    patients: np.ndarray,
    n: int,
    *,
    seed: int,
    balanced: bool = False,
    spread: bool = False,
) -> np.ndarray:
    """Draws n labelled recordings, patient by patient.

    A drawn patient brings all recordings along; the last patient is cut so that n are drawn.
    Draws with one seed are nested: the 50 recordings of n=50 are among the 100 of n=100.

    Args:
      targets: 0 or 1, [recording, class].
      patients: the patient of each recording, [recording].
      n: number of recordings.
      seed: seed of the order of the patients.
      balanced: half cases and half controls, as long as there are cases; for a single class.
      spread: as many patients as possible: no patient's second recording is drawn before the first
        recording of every patient.

    Returns:
      Sorted positions in `targets`, [n].

    Raises:
      InputError: n is not between 1 and the number of recordings, or `balanced` is combined with
        several classes or with `spread`.
    """
    if not 0 < n <= len(targets):
        raise InputError(
            f"{n} labelled recordings wanted of {len(targets)}; ask for 1 to {len(targets)}"
        )
    if balanced and targets.shape[1] != 1:
        raise InputError(
            f"balanced draw of {targets.shape[1]} classes; only a single one can be balanced"
        )
    if balanced and spread:
        raise InputError("a draw that is balanced and spread; give one of the two")
    _, patient = np.unique(patients, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(patient.max() + 1)[patient]
    order = np.lexsort((np.arange(len(rank)), rank))
    if spread:
        visit = np.arange(len(order)) - np.searchsorted(rank[order], rank[order])
        order = order[np.argsort(visit, kind="stable")]
    if balanced:
        order = _alternate(order, rank, targets[:, 0] == 1)
    return np.sort(order[:n])


def _alternate(order: np.ndarray, rank: np.ndarray, is_case: np.ndarray) -> np.ndarray:
    """Reorders patients so that cases and controls stay level at every point of the order."""
    visits = np.split(order, np.flatnonzero(np.diff(rank[order])) + 1)
    with_case = [visit for visit in visits if is_case[visit].any()][::-1]
    without_case = [visit for visit in visits if not is_case[visit].any()][::-1]
    taken = []
    surplus = 0  # cases minus controls taken so far
    while with_case or without_case:
        takes_case = with_case and (surplus < 0 or not without_case)
        visit = (with_case if takes_case else without_case).pop()
        taken.append(visit)
        surplus += 2 * int(is_case[visit].sum()) - len(visit)
    return np.concatenate(taken)
