"""Batches of prepared recordings, run through a jitted function."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ecgjax.data.records import Records


def read_in_batches(records: Records, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields prepared recordings, int16 [at most size, time, lead], in the order of `indices`."""
    for start in range(0, len(indices), size):
        yield records.read(indices[start : start + size])


def each_batch(
    step: Callable[[np.ndarray], Any], batches: Iterable[np.ndarray], size: int
) -> np.ndarray:
    """Applies `step` to every batch and returns the results of all recordings, [recording, ...].

    The last batch is padded to `size` with zeros, so that there is one shape and one compilation.
    """
    parts = []
    for batch in batches:
        padded = np.zeros((size, *batch.shape[1:]), batch.dtype)
        padded[: len(batch)] = batch
        parts.append(np.asarray(step(padded))[: len(batch)])
    return np.concatenate(parts)
