"""Tokens of recordings by a frozen encoder, kept in memory: a probe reads them many times."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.data.inference import Windows, divide_records, read_windows
from ecgjax.data.places import places
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.outputs import merge_tokens
from ecgjax.preprocessing import Preprocessor, cut_windows
from ecgjax.pretrained import Encoder
from ecgjax.signals import MISSING

MOST_BYTES = 6 << 30
"""Largest size of the tokens of one data set. compact_resnet takes 28 kB for 10 s, 0.6 GB for all
of PTB-XL; s4, which has the most tokens, takes 229 kB and 5.0 GB."""
LARGEST = 65504.0
"""Largest number in float16; a larger feature is cut off."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of the windows of some recordings of a data set."""

    indices: np.ndarray
    """Numbers of the recordings in the data set, ascending, [recording]."""
    values: np.ndarray
    """float16 [window, token, width], the windows of a recording one after another."""
    starts: np.ndarray
    """First window of each recording, and the number of all windows, [recording + 1]."""

    def positions(self, indices: np.ndarray) -> np.ndarray:
        """Returns the places of recordings in this cache, [len(indices)]."""
        return places(self.indices, indices)

    def statistics(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of each feature over the tokens of recordings.

        The sums are of float64 and made in pieces.
        """
        count = 0
        total = np.zeros(self.values.shape[-1])
        squares = np.zeros(self.values.shape[-1])
        for windows, _ in self.pieces(positions):
            values = self.values[windows].astype(np.float64)
            total += values.sum((0, 1))
            squares += np.square(values).sum((0, 1))
            count += values.shape[0] * values.shape[1]
        mean = total / count
        return mean, np.sqrt(np.maximum(squares / count - mean**2, 0.0))

    def pieces(
        self, positions: np.ndarray, size: int = 512
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields all windows of recordings, at most `size` at once.

        Yields:
          Numbers of windows, and for each of them the place of its recording in `positions`.
        """
        counts = (self.starts[1:] - self.starts[:-1])[positions]
        owners = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        windows = self.starts[positions][owners] + within
        for first in range(0, len(windows), size):
            yield windows[first : first + size], owners[first : first + size]


def read_tokens(
    encoder: Encoder,
    records: Records,
    indices: np.ndarray,
    *,
    window_s: float,
    batch_size: int = 64,
) -> Tokens:
    """Computes the tokens of recordings, window by window, once.

    The windows are those that a classifier with `window_s` averages its predictions over.

    Args:
      encoder: the frozen encoder.
      records: a prepared data set.
      indices: numbers of recordings in it.
      window_s: length of the windows in seconds.
      batch_size: recordings that are computed at once.

    Raises:
      InputError: the tokens are larger than `MOST_BYTES`, or not finite.
    """
    indices = np.unique(indices)
    pieces = divide_records(records, indices, window_s=encoder.preprocessing.seconds)
    step = functools.partial(
        _jitted_tokens(
            encoder.module, Preprocessor(encoder.preprocessing, records.rate_hz), window_s
        ),
        jax.device_put(encoder.variables),
    )
    shapes = {piece.length: _shape(step, piece.length) for piece in pieces}
    if len({shape[2:] for shape in shapes.values()}) > 1:
        problem = f"{records.path}: has recordings shorter than windows of {window_s:g} s"
        raise InputError(f"{problem}; give a shorter window_s")
    starts = _starts(pieces, {length: shape[1] for length, shape in shapes.items()})
    tokens = Tokens(indices, _room(records, int(starts[-1]), shapes[pieces[0].length][2:]), starts)
    held = np.zeros(len(tokens.values), bool)
    for length in sorted(shapes):
        places, first = _places(pieces, starts, length, shapes[length][1])
        done = 0
        for rows, batch in read_windows(
            lambda rows: records.read(indices[rows]), places, length, batch_size
        ):
            padded = np.full((batch_size, *batch.shape[1:]), MISSING, np.int16)
            padded[: len(batch)] = batch
            computed = np.asarray(step(padded))[: len(batch)]
            windows = first[done : done + len(rows), None] + np.arange(computed.shape[1])
            tokens.values[windows] = np.clip(computed, -LARGEST, LARGEST)
            held[windows] = (batch != MISSING).any((1, 2))[:, None]  # not within a gap
            done += len(rows)
    _require_finite(records, tokens.values)
    return _without_gaps(tokens, held)


def _places(
    pieces: list[Windows], starts: np.ndarray, length: int, windows: int
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Returns recording and start of each piece of a length, and its first window in the cache."""
    places = []
    first = []
    for row, piece in enumerate(pieces):
        if piece.length == length:
            places += [(row, start) for start in piece.starts]
            first += [int(starts[row]) + k * windows for k in range(len(piece.starts))]
    return places, np.array(first)


def _starts(pieces: list[Windows], windows: dict[int, int]) -> np.ndarray:
    counts = [len(piece.starts) * windows[piece.length] for piece in pieces]
    return np.concatenate([[0], np.cumsum(counts)]).astype(int)


def _shape(step: Any, length: int) -> tuple[int, ...]:
    """Returns the shape of the tokens of one piece: [1, window, token, width]."""
    return jax.eval_shape(step, jax.ShapeDtypeStruct((1, length, 12), jnp.int16)).shape


def _room(records: Records, windows: int, shape: tuple[int, ...]) -> np.ndarray:
    size = 2 * windows * int(np.prod(shape))
    if size > MOST_BYTES:
        problem = f"{records.path}: tokens of {windows} windows take {size / 2**30:.1f} GiB"
        remedy = "give fewer labels, longer windows or another probe"
        raise InputError(f"{problem}, more than {MOST_BYTES / 2**30:g}; {remedy}")
    return np.empty((windows, *shape), np.float16)


def _require_finite(records: Records, values: np.ndarray) -> None:
    bad = sum(
        int((~np.isfinite(values[k : k + 4096])).any((1, 2)).sum())
        for k in range(0, len(values), 4096)
    )
    if bad:
        problem = f"{records.path}: the tokens of {bad} of {len(values)} windows are not finite"
        raise InputError(f"{problem}; check encoder and signals")


def _without_gaps(tokens: Tokens, held: np.ndarray) -> Tokens:
    """Leaves out pieces within a gap, but all windows of a recording that is nothing else."""
    if held.all():
        return tokens
    counts = np.add.reduceat(held, tokens.starts[:-1])
    empty = np.repeat(counts == 0, np.diff(tokens.starts))
    kept = held | empty
    counts = np.add.reduceat(kept, tokens.starts[:-1])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    return Tokens(tokens.indices, tokens.values[kept], starts)


@functools.lru_cache(maxsize=8)
def _jitted_tokens(module: nn.Module, preprocess: Preprocessor, window_s: float):
    return jax.jit(functools.partial(_tokens_step, module, preprocess, window_s))


def _tokens_step(
    module: nn.Module, preprocess: Preprocessor, window_s: float, variables: dict, signal: jax.Array
) -> jax.Array:
    """Turns int16 [batch, time, 12] into tokens float32 [batch, window, token, width]."""
    windows = cut_windows(preprocess(signal), window_s, rate_hz=preprocess.rate_hz)
    outputs: Any = module.apply(variables, windows.reshape(-1, *windows.shape[2:]), train=False)
    tokens = merge_tokens(outputs[0])
    return tokens.reshape(*windows.shape[:2], *tokens.shape[1:])
