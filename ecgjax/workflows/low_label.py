"""How well an encoder does with few labelled recordings."""

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import Task


def labelled(records: Records, task: Task, split: str) -> tuple[np.ndarray, np.ndarray]:
    """A split's recordings that belong to a task: indices [recording], targets float32 [recording, class].

    Raises:
      InputError: a class has no positive or no negative recording among them.
    """
    indices = records.split(split)
    targets, keep = task.targets(records.labels(indices))
    indices, targets = indices[keep], targets[keep]
    positives = targets.sum(0)
    if missing := [
        name for name, n in zip(task.classes, positives, strict=True) if n in (0, len(targets))
    ]:
        raise InputError(
            f"{records.path}: split {split} has no recording with (or none without) {', '.join(missing)}; "
            f"choose another task than {task.name}"
        )
    return indices, targets


def labels_wanted(labels: float | None, available: int) -> int:
    """Number of labelled recordings that `labels` means: a share (below 1), a number, or None for all."""
    if labels is None:
        return available
    return round(labels * available) if labels < 1 else int(labels)


def draw_labelled(
    targets: np.ndarray,
    patients: np.ndarray,
    n: int,
    *,
    seed: int,
    balanced: bool = False,
    spread: bool = False,
) -> np.ndarray:
    """Draw n labelled recordings, patient by patient.

    A drawn patient comes with all recordings (the last one drawn is cut so that there are exactly n), and the
    draws of one seed are nested: the 50 of n=50 are among the 100 of n=100.

    Args:
      targets: 0 or 1, [recording, class].
      patients: the patient of each recording, [recording].
      n: number of recordings.
      seed: another seed is another order of the patients.
      balanced: of a single class, half cases and half controls for as long as there are cases.
      spread: of as many patients as there can be: a patient's second recording comes after everybody's first.

    Returns:
      Sorted indices of recordings, [n].

    Raises:
      InputError: n is not within 1 and the number of recordings, or `balanced` with several classes or `spread`.
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
        nth = np.arange(len(order)) - np.searchsorted(rank[order], rank[order])
        order = order[np.argsort(nth, kind="stable")]
    if balanced:
        order = _alternated(order, rank, targets[:, 0] == 1)
    return np.sort(order[:n])


def _alternated(order: np.ndarray, rank: np.ndarray, is_case: np.ndarray) -> np.ndarray:
    """`order`, with patients taken from those with and without the condition so that both keep level."""
    visits = np.split(order, np.flatnonzero(np.diff(rank[order])) + 1)
    with_case = [visit for visit in visits if is_case[visit].any()][::-1]
    without = [visit for visit in visits if not is_case[visit].any()][::-1]
    taken, surplus = [], 0  # surplus: cases minus controls taken so far
    while with_case or without:
        source = with_case if with_case and (surplus < 0 or not without) else without
        taken.append(source.pop())
        surplus += 2 * int(is_case[taken[-1]].sum()) - len(taken[-1])
    return np.concatenate(taken)
