"""Windows of recordings of any length, run through a jitted function in batches of one shape.

A recording is cut into windows of the encoder's length; the results of its windows are averaged. A
shorter recording is one shorter window. Missing samples after the end of a recording are in no
window, except for the rounding to GRID_S, which limits the number of shapes to compile, and in
windows of the shortest length. A window within a gap counts for nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.signals import MISSING

SHORTEST_S = 2.5
"""Length of the shortest window: the crops that encoders are trained on by default, in seconds."""
GRID_S = 0.5
"""Windows shorter than the encoder's are rounded to multiples of this length, in seconds."""


class Windows(NamedTuple):
    """The windows of one recording, in samples."""

    length: int
    starts: tuple[int, ...]


def divide(samples: int, *, rate_hz: float, window_s: float) -> Windows:
    """Returns the windows that a recording is embedded in.

    Args:
      samples: length of the recording without padding.
      rate_hz: its sampling rate, in Hz.
      window_s: length of the encoder's window in seconds; a longer recording has several, evenly
        spread, which together hold every sample.

    Raises:
      InputError: the recording is shorter than the shortest window.
    """
    shortest_s = _shortest_s(window_s)
    seconds = samples / rate_hz
    if seconds < shortest_s - 0.5 / rate_hz:
        raise InputError(
            f"{samples} samples at {rate_hz:g} Hz are {seconds:g} s; give {shortest_s:g} s or more,"
            f" or check the sampling rate"
        )
    whole = round(window_s * rate_hz)
    if seconds > window_s + GRID_S / 2:
        starts = np.linspace(0, samples - whole, -(-samples // whole)).round().astype(int)
        return Windows(whole, tuple(starts.tolist()))
    if seconds >= window_s - GRID_S / 2:
        return Windows(whole, (0,))
    nearest_s = max(shortest_s, round(seconds / GRID_S) * GRID_S)
    return Windows(round(nearest_s * rate_hz), (0,))


def _shortest_s(window_s: float) -> float:
    return min(SHORTEST_S, window_s)


def divide_records(records: Records, indices: np.ndarray, *, window_s: float) -> list[Windows]:
    """Returns the windows of prepared recordings; see `divide_stored`.

    Raises:
      InputError: a recording is too short; the message names it.
    """
    valid_samples = records.valid_samples[indices]
    try:
        return divide_stored(
            valid_samples, records.samples, rate_hz=records.rate_hz, window_s=window_s
        )
    except InputError as error:
        shortest = records.row(indices[np.argmin(valid_samples)])["record_id"]
        raise InputError(f"{records.path}: recording {shortest}: {error}") from None


def divide_stored(
    valid_samples: np.ndarray, samples: int, *, rate_hz: float, window_s: float
) -> list[Windows]:
    """Returns the windows of recordings that `prepare` filled up to one length; see `divide`.

    A recording that was filled up from less than the shortest window has that window.

    Args:
      valid_samples: samples of each recording without padding, [recording].
      samples: samples of each recording with padding.
      rate_hz: their sampling rate, in Hz.
      window_s: length of the encoder's window, in seconds.

    Raises:
      InputError: the recordings are too short.
    """
    shortest = math.ceil(_shortest_s(window_s) * rate_hz)
    counts = np.maximum(valid_samples, min(shortest, samples)).tolist()
    windows = {count: divide(count, rate_hz=rate_hz, window_s=window_s) for count in {*counts}}
    return [windows[count] for count in counts]


def average_over_windows(
    step: Callable[[np.ndarray], Any],
    read: Callable[[np.ndarray], np.ndarray],
    windows: Sequence[Windows],
    batch_size: int,
) -> np.ndarray:
    """Applies `step` to the windows of recordings and returns the mean for each recording.

    Args:
      step: function of int16 [batch_size, time, lead].
      read: reads recordings by position, int16 [position, time, lead].
      windows: the windows of each recording, one or more recordings.
      batch_size: windows of a batch.

    Returns:
      float32 [recording, ...].

    Raises:
      InputError: `batch_size` is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch size {batch_size}: give 1 or more")
    total: np.ndarray | None = None
    counts = np.zeros(len(windows), np.float32)
    for length in sorted({recording.length for recording in windows}):
        places = [
            (position, start)
            for position, recording in enumerate(windows)
            if recording.length == length
            for start in recording.starts
        ]
        for positions, batch in read_windows(read, places, length, batch_size):
            results = each_batch(step, iter([batch]), batch_size)
            if total is None:
                total = np.zeros((len(windows), *results.shape[1:]), np.float32)
            held = (batch != MISSING).any((1, 2))  # not within a gap
            np.add.at(total, positions[held], results[held])
            np.add.at(counts, positions[held], 1)
    assert total is not None
    return total / np.maximum(counts, 1).reshape(-1, *[1] * (total.ndim - 1))


def read_windows(
    read: Callable[[np.ndarray], np.ndarray],
    places: Sequence[tuple[int, int]],
    length: int,
    size: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields positions of recordings, and their windows, filled up with missing samples.

    int64 [at most size], int16 [at most size, length, lead].
    """
    for first in range(0, len(places), size):
        chosen = places[first : first + size]
        positions = np.array([position for position, _ in chosen])
        signals = read(positions)
        batch = np.full((len(chosen), length, signals.shape[-1]), MISSING, np.int16)
        for row, (signal, (_, start)) in enumerate(zip(signals, chosen, strict=True)):
            piece = signal[start : start + length]
            batch[row, : len(piece)] = piece
        yield positions, batch


def read_in_batches(records: Records, indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields prepared recordings, int16 [at most size, time, lead], in the order of `indices`."""
    for start in range(0, len(indices), size):
        yield records.read(indices[start : start + size])


def each_batch(
    step: Callable[[np.ndarray], Any], batches: Iterator[np.ndarray], size: int
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
