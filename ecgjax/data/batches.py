"""Batches for training: the recordings of a batch depend on the seed and the batch's number only.

A run therefore resumes from its number of steps alone; threads, processes and hosts may change in
between; and recordings in device memory come in the same order as recordings read from the shards.
Grain does nothing but read ahead. The host moves int16 and nothing else.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import grain
import numpy as np

from ecgjax.data.mixture import Mixture
from ecgjax.data.pairs import PairRule, PatientPairs
from ecgjax.data.records import Records
from ecgjax.errors import InputError

# Batches that wait ready. Grain's default of 500 would hold gigabytes.
_READ_AHEAD = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
# Streams of random numbers from one seed.
_ORDER = 0
_PARTNERS = 1
# Streams of `_ORDER`: data set 0, 1, ...; unlabelled recordings count as the second data set.
_UNLABELLED = 1


class Cache(Protocol):
    """Recordings that are on the device already, so that a batch only names their slots."""

    def slots(self, indices: np.ndarray) -> np.ndarray:
        """Returns the slot of each recording, in the shape of `indices`."""
        ...


@dataclasses.dataclass(frozen=True)
class Batches:
    """The batches of a run, by number."""

    make: Callable[[int], dict[str, np.ndarray]]
    """number -> this process's part of the batch."""
    recordings: int
    """Recordings of a batch, over all processes."""
    records: Records | Mixture | None = None
    """The prepared data, to name recordings."""
    indices: Callable[[int], np.ndarray] | None = None
    """number -> indices of the batch's recordings, over all processes."""

    def between(
        self, first: int, last: int, *, at_once: int = 1
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields batches `first` to `last` - 1 in stacks [at_once, batch, ...], read ahead.

        Each stack ends at a multiple of `at_once` or at `last`; the first and the last one may be
        shorter. Checkpoints and log lines thus fall on the same steps wherever a run resumes.
        """

        def stack(number: int) -> dict[str, np.ndarray]:
            start = number * at_once
            numbers = range(max(first, start), min(start + at_once, last))
            batches = [self.make(number) for number in numbers]
            if len(batches) == 1:
                return {name: part[None] for name, part in batches[0].items()}
            return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

        numbers = range(first // at_once, -(-last // at_once)) if first < last else range(0)
        return iter(grain.MapDataset.source(numbers).map(stack).to_iter_dataset(_READ_AHEAD))


def pretraining_batches(
    records: Records | Mixture,
    parts: Sequence[np.ndarray],
    *,
    examples: str | PairRule,
    batch_size: int,
    seed: int,
    weights: Sequence[float] = (),
    rows: slice | np.ndarray = slice(None),
    cache: Cache | None = None,
) -> Batches:
    """Makes batches without labels.

    An epoch takes each recording once (as the first view of a pair). With weights every data set
    has its own epochs.

    Args:
      records: the prepared data set, or several.
      parts: indices of the recordings to use, one array for each data set.
      examples: "single", "patient_pair" or a rule for pairs; what the objective asks for.
      batch_size: pairs or recordings of a batch, over all processes.
      seed: seed of the order and of the partners.
      weights: each data set's share of a batch; they need not sum to 1. Without weights all
        recordings are treated alike, so that a data set's share is that of its size.
      rows: this process's rows of a batch; all of them by default.
      cache: recordings in device memory; the batches then hold slots in place of signals.

    Returns:
      Batches {"signal": int16 [row, 2, time, lead] or [row, time, lead], "patient": int32 [row]}.
      With a cache "slot", int32 [row, 2] or [row], replaces "signal".
    """
    indices = np.concatenate(parts)
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} recordings in {records.path}: "
            f"give --batch-size 1 to {len(indices)}"
        )
    counts = [len(part) for part in parts] if len(weights) else [len(indices)]
    shares = _shares(weights, len(parts), batch_size) if len(weights) else np.ones(1)
    positions = functools.partial(_mixed_positions, counts, shares, batch_size, seed)
    pairs = None if examples == "single" else _pairs(records, indices, examples)

    def draw(number: int) -> np.ndarray:
        if not pairs:
            return indices[positions(number)]
        return pairs.draw(positions(number), np.random.default_rng((seed, _PARTNERS, number)))

    def make(number: int) -> dict[str, np.ndarray]:
        chosen = draw(number)[rows]
        signal = {"slot": cache.slots(chosen)} if cache else {"signal": records.read(chosen)}
        return {**signal, "patient": records.patients[chosen[:, 0] if pairs else chosen]}

    return Batches(make, 2 * batch_size if pairs else batch_size, records, draw)


def _pairs(
    records: Records | Mixture, indices: np.ndarray, examples: str | PairRule
) -> PatientPairs:
    rule = examples if isinstance(examples, PairRule) else PairRule()
    recorded_at = records.recorded_at if rule.needs_dates else None
    pairs = PatientPairs(indices, records.patients, rule=rule, recorded_at=recorded_at)
    if pairs.patients < 2:
        raise InputError(
            f"{records.path}: one patient only; give recordings of at least two patients"
        )
    return pairs


def labelled_batches(
    records: Records,
    indices: np.ndarray,
    targets: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    rows: slice | np.ndarray = slice(None),
) -> Batches:
    """Makes batches with labels.

    Args:
      records: the prepared data set.
      indices: the labelled recordings, an explicit list: no other recording is ever read.
      targets: float32 [len(indices), class].
      batch_size: recordings of a batch, over all processes.
      seed: seed of the order.
      rows: this process's rows of a batch; all of them by default.

    Returns:
      Batches {"signal": int16 [row, time, lead], "targets": float32 [row, class]}.
    """
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} labelled recordings: "
            f"give --batch-size 1 to {len(indices)}"
        )

    def draw(number: int) -> np.ndarray:
        first = number * batch_size
        return _positions(len(indices), first, first + batch_size, seed)

    def make(number: int) -> dict[str, np.ndarray]:
        chosen = draw(number)[rows]
        return {"signal": records.read(indices[chosen]), "targets": targets[chosen]}

    return Batches(make, batch_size, records, lambda number: indices[draw(number)])


def add_unlabelled(
    labelled: Batches,
    records: Records,
    indices: np.ndarray,
    *,
    each: int,
    seed: int,
    rows: slice | np.ndarray = slice(None),
) -> Batches:
    """Adds `each` recordings without labels to every labelled recording.

    Args:
      labelled: batches of labelled recordings.
      records: the prepared data set.
      indices: the recordings without labels. Their labels are not read.
      each: number of unlabelled recordings for each labelled one.
      seed: seed of the order.
      rows: this process's rows, as in `labelled`.

    Returns:
      The batches of `labelled` with "unlabelled", int16 [row, each, time, lead].
    """
    if not len(indices):
        raise InputError(
            f"{records.path}: no recording is left without a label; give --labels a share below 1"
        )
    size = labelled.recordings * each

    def draw(number: int) -> np.ndarray:
        first = number * size
        return indices[_positions(len(indices), first, first + size, seed, _UNLABELLED)]

    def make(number: int) -> dict[str, np.ndarray]:
        chosen = draw(number).reshape(-1, each)[rows]
        return {**labelled.make(number), "unlabelled": records.read(chosen)}

    def draw_all(number: int) -> np.ndarray:
        own = labelled.indices(number) if labelled.indices else np.empty(0, np.int64)
        return np.concatenate([own, draw(number)])

    return Batches(make, labelled.recordings + size, records, draw_all)


def _shares(weights: Sequence[float], data_sets: int, batch_size: int) -> np.ndarray:
    """Returns each data set's share of a batch; they sum to 1."""
    shares = np.asarray(weights, float) / (sum(weights) or 1)
    positive = min(weights) > 0 and (shares * batch_size >= 1).all()  # NaN fails both
    if len(weights) != data_sets or not positive:
        raise InputError(
            f"--weights {' '.join(map(str, weights))} for {data_sets} data sets and a batch of "
            f"{batch_size}: give each data set a positive number that is worth at least one "
            f"recording of a batch"
        )
    return shares


def _mixed_positions(
    counts: Sequence[int], shares: np.ndarray, batch_size: int, seed: int, number: int
) -> np.ndarray:
    """Returns int64 [batch_size], positions in the concatenated data sets, of one batch.

    Args:
      counts: recordings of each data set.
      shares: each data set's share of a batch; they sum to 1.
      batch_size: positions of a batch.
      seed: seed of the order.
      number: number of the batch.
    """
    starts = np.cumsum([0, *counts])
    ends = np.cumsum(shares)
    ends[-1] = 1.0  # exactly, despite rounding

    def drawn(batches: int) -> list[int]:
        """Recordings drawn from each data set before a batch; they sum to batches * batch_size."""
        total = batches * batch_size
        return np.diff(np.floor(ends * total).astype(np.int64), prepend=0).tolist()

    bounds = zip(counts, drawn(number), drawn(number + 1), strict=True)
    pieces = [_positions(*bound, seed, part) for part, bound in enumerate(bounds)]
    return np.concatenate([start + piece for start, piece in zip(starts, pieces, strict=False)])


def _positions(count: int, first: int, last: int, seed: int, part: int = 0) -> np.ndarray:
    """Returns int64 [last - first], a piece of endless shuffled epochs of `count` positions.

    The piece may end one epoch and begin the next.
    """
    drawn = np.arange(first, last)
    epochs = drawn // count
    return np.concatenate(
        [
            _epoch(count, seed, int(epoch), part)[drawn[epochs == epoch] % count]
            for epoch in np.unique(epochs)
        ]
    )


@functools.lru_cache(maxsize=8)
def _epoch(count: int, seed: int, epoch: int, part: int) -> np.ndarray:
    """Returns a permutation of `count` positions: 40 MB for 5 million."""
    stream = (seed, _ORDER, epoch, *([part] if part else []))
    return np.random.default_rng(stream).permutation(count)
