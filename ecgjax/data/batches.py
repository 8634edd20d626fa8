"""Batches for training: which recordings a batch holds is a function of the seed and of its number, of nothing else.

So a run resumes from the number of its steps alone; threads, processes and hosts may change in between; and signals
that wait in device memory come in the same order as those read from the shards. Grain reads ahead; the host moves int16
and nothing else.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np

from ecgjax.data.mixture import Mixture
from ecgjax.data.pairs import PairRule, PatientPairs
from ecgjax.data.records import Records
from ecgjax.errors import InputError

# Batches that wait ready. Grain's own default of 500 would hold gigabytes (measured: research/ecosystem.md B2).
_READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
_ORDER, _PARTNERS = 0, 1  # two streams of random numbers from one seed
_UNLABELLED = 1  # the part of those without labels, beside which the labelled ones are part 0


@dataclasses.dataclass(frozen=True)
class Batches:
    """The batches of a run, by number."""

    make: Callable[[int], dict[str, np.ndarray]]
    """number -> this process's part of the batch."""
    recordings: int
    """Recordings of a batch, over all processes."""

    def between(
        self, first: int, last: int, *, at_once: int = 1
    ) -> Iterator[dict[str, np.ndarray]]:
        """Batches `first` to `last` - 1, read ahead, in stacks [at_once, batch, ...]; the last stack may be shorter."""

        def stack(start: int) -> dict[str, np.ndarray]:
            batches = [self.make(number) for number in range(start, min(start + at_once, last))]
            if len(batches) == 1:
                return {name: part[None] for name, part in batches[0].items()}
            return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}

        starts = grain.MapDataset.source(range(first, last, at_once))
        return iter(starts.map(stack).to_iter_dataset(_READ))


def pretraining_batches(
    records: Records | Mixture,
    indices: np.ndarray,
    *,
    examples: str | PairRule,
    batch_size: int,
    seed: int,
    parts: Sequence[int] = (),
    weights: Sequence[float] = (),
    rows: slice | np.ndarray = slice(None),
    read: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Batches:
    """Batches for an objective, without labels.

    An epoch takes each recording once (as a pair's first view). With weights every data set has epochs of its own.

    Args:
      records: the prepared data set, or several.
      indices: the recordings that may be used.
      examples: "single", "patient_pair" or the rule that pairs must keep, what the objective asks for.
      batch_size: pairs or recordings of a batch, over all processes.
      seed: order and partners.
      parts: how many of `indices` are of each data set, which follow each other.
      weights: for each data set, its share of the recordings of a batch; they need not sum to 1. Without them all
        recordings are treated alike, so that a data set's share is that of its size.
      rows: this process's part of a batch, by default all of it.
      read: recordings' numbers, any shape, to what takes the place of their signals; by default `records.read`.

    Returns:
      Batches {"signal": int16 [row, 2, time, lead] or [row, time, lead], "patient": int32 [row]}.
    """
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} recordings in {records.path}: "
            f"give --batch-size 1 to {len(indices)}"
        )
    if len(weights):
        positions_of = _weighted(parts, _shares(weights, len(parts), batch_size), batch_size, seed)
    else:
        positions_of = _weighted([len(indices)], np.ones(1), batch_size, seed)
    pairs = None if examples == "single" else _pairs(records, indices, examples)
    if pairs and pairs.patients < 2:
        raise InputError(
            f"{records.path}: one patient only; contrast needs the recordings of at least two"
        )
    read = read or records.read

    def make(number: int) -> dict[str, np.ndarray]:
        positions = positions_of(number)
        if pairs:
            chosen = pairs.draw(positions, np.random.default_rng((seed, _PARTNERS, number)))[rows]
        else:
            chosen = indices[positions[rows]]
        return {
            "signal": read(chosen),
            "patient": records.patients[chosen[:, 0] if pairs else chosen],
        }

    return Batches(make, recordings=2 * batch_size if pairs else batch_size)


def _pairs(
    records: Records | Mixture, indices: np.ndarray, examples: str | PairRule
) -> PatientPairs:
    rule = examples if isinstance(examples, PairRule) else PairRule()
    recorded_at = records.recorded_at if rule.needs_dates else None
    return PatientPairs(indices, records.patients, rule=rule, recorded_at=recorded_at)


def labelled_batches(
    records: Records,
    indices: np.ndarray,
    targets: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    rows: slice | np.ndarray = slice(None),
) -> Batches:
    """Batches for training with labels.

    Args:
      records: the prepared data set.
      indices: the labelled recordings, an explicit list: nothing else is ever read.
      targets: float32 [len(indices), class].
      batch_size: recordings of a batch, over all processes.
      seed: order.
      rows: this process's part of a batch, by default all of it.

    Returns:
      Batches {"signal": int16 [row, time, lead], "targets": float32 [row, class]}.
    """
    if not 0 < batch_size <= len(indices):
        raise InputError(
            f"batch of {batch_size} from {len(indices)} labelled recordings: give --batch-size 1 to {len(indices)}"
        )

    def make(number: int) -> dict[str, np.ndarray]:
        chosen = _positions(len(indices), number * batch_size, (number + 1) * batch_size, seed)[
            rows
        ]
        return {"signal": records.read(indices[chosen]), "targets": targets[chosen]}

    return Batches(make, recordings=batch_size)


def beside_unlabelled(
    labelled: Batches,
    records: Records,
    indices: np.ndarray,
    *,
    each: int,
    seed: int,
    rows: slice | np.ndarray = slice(None),
) -> Batches:
    """The batches of `labelled_batches`, each labelled recording together with `each` others without labels.

    Args:
      labelled: the labelled recordings' batches.
      records: the prepared data set.
      indices: the recordings without labels. Their labels are not read.
      each: how many a labelled recording brings along.
      seed: order.
      rows: as in `labelled`.

    Returns:
      Batches that hold "unlabelled", int16 [row, each, time, lead], as well.
    """
    if not len(indices):
        raise InputError(
            f"{records.path}: no recording is left without a label; give --labels, a share below 1"
        )
    size = labelled.recordings * each

    def make(number: int) -> dict[str, np.ndarray]:
        positions = _positions(
            len(indices), number * size, (number + 1) * size, seed, _UNLABELLED
        ).reshape(-1, each)
        return {**labelled.make(number), "unlabelled": records.read(indices[positions[rows]])}

    return Batches(make, recordings=labelled.recordings + size)


def _shares(weights: Sequence[float], data_sets: int, batch_size: int) -> np.ndarray:
    """Each data set's share of a batch; they sum to 1."""
    shares = np.asarray(weights, float) / (sum(weights) or 1)
    positive = min(weights) > 0 and (shares * batch_size >= 1).all()  # not a number is neither
    if len(weights) != data_sets or not positive:
        raise InputError(
            f"--weights {' '.join(map(str, weights))} for {data_sets} data sets and a batch of {batch_size}: give each "
            f"data set a positive number, by which at least one recording of a batch is its"
        )
    return shares


def _weighted(
    counts: Sequence[int], shares: np.ndarray, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
    """Number of a batch -> int64 [batch_size], positions in parts of so many recordings one after the other."""
    starts, ends = np.cumsum([0, *counts]), np.cumsum(shares)
    ends[-1] = 1.0  # whatever rounding says

    def drawn(batches: int) -> np.ndarray:
        """Of each part before so many batches: whole numbers that sum to batches * batch_size."""
        return np.diff(np.floor(ends * (batches * batch_size)).astype(np.int64), prepend=0)

    def positions(number: int) -> np.ndarray:
        bounds = zip(counts, drawn(number).tolist(), drawn(number + 1).tolist(), strict=True)
        mine = [_positions(*bound, seed, part) for part, bound in enumerate(bounds)]
        return np.concatenate([start + own for start, own in zip(starts, mine, strict=False)])

    return positions


def _positions(count: int, first: int, last: int, seed: int, part: int = 0) -> np.ndarray:
    """int64 [last - first]: that piece of endless shuffled epochs; it may end one epoch and begin the next."""
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
    """A permutation of `count` positions: 40 MB for 5 million."""
    return np.random.default_rng((seed, _ORDER, epoch, *([part] if part else []))).permutation(
        count
    )
