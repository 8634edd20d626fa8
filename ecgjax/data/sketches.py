"""Sketches: 128 bits of a recording that a copy of it shares, at another rate, gain or offset.

A recording that was resampled, rescaled, rounded, shifted by some samples or renamed has another
hash and nearly the same sketch. Sketches are signs of random projections (Charikar 2002,
doi:10.1145/509907.509965), so that the number of different bits grows with the angle between two
vectors. The vector holds, of each of eight leads and of each frequency from 1 to 14.7 Hz, the
phase relative to that of the frequency 0.4 Hz above. A shift by s seconds turns all of them by the
small angle 0.8 pi s; gain, offset and slow filters do not change them; a crop does. How far copies
and other recordings are apart, and what is not found, is in docs/limits.md.
"""

import functools
import hashlib
import math
from collections.abc import Iterator

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING

VERSION = 1
"""Version of the sketches. Those of different versions cannot be compared."""
WORDS = 2
"""64-bit numbers of a sketch."""
DIGITS = 32
"""Hexadecimal digits of a sketch in the table."""
MOST_APART = 12
"""Largest number of different bits of two sketches that count as those of one recording."""
_LEADS = tuple(LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
"""The leads that do not follow from others."""
_LEAST_HZ = 100
"""Faster recordings are averaged to at least this sampling rate, which saves time."""
_SLOWEST_HZ = 31
"""Sampling rate below which a recording has no sketch."""
_SHORTEST_S = 7.0
"""Length below which a recording has no sketch, in seconds: too many short ones are alike."""
_STEP_S = 10.0
"""Inverse of the distance of two frequencies, in seconds."""
_FREQUENCIES = slice(10, 152)
"""Frequencies from 1.0 to 15.1 Hz."""
_LAG = 4
_FLOOR_UV = 0.5
"""Amplitude below which a frequency counts for less: rounding to 1 uV must not decide its phase."""
_LEAST_CONTENT = 0.1
"""Mean square of a lead's phases, at most 1, below which the lead is flat; 0.3 and more in all
recordings of PTB-XL."""
_PIECES = 8
"""Pieces of 16 bits of a sketch; of MOST_APART different bits, one piece has at most one."""
_BLOCK = 4_000_000
"""Pairs of sketches that are compared at once."""
_MOST_ALIKE = 100
"""Times that equal pieces may be more frequent than those of random bits; 1.4 in PTB-XL."""
_FREE_PAIRS = 20_000_000
"""Pairs that may be compared besides: three seconds of work."""


def sketch(signals: np.ndarray, *, rate_hz: float, valid_samples: np.ndarray) -> np.ndarray:
    """Returns the sketches of recordings.

    Args:
      signals: int16 [recording, time, 12], 1 uV per LSB, MISSING for a missing sample.
      rate_hz: their sampling rate, in Hz.
      valid_samples: samples of each recording without padding, [recording].

    Returns:
      uint64 [recording, WORDS]; 0 for a recording that is shorter than 7 s, below 31 Hz, or flat in
      all leads.
    """
    if rate_hz < _SLOWEST_HZ:
        return np.zeros((len(signals), WORDS), np.uint64)
    spectra = _spectra(signals, rate_hz, np.asarray(valid_samples))
    amplitude = np.sqrt(np.abs(spectra) ** 2 + _FLOOR_UV**2)
    phases = spectra / amplitude
    has_content = (np.abs(phases) ** 2).mean(1) > _LEAST_CONTENT
    turned = phases[:, _LAG:] * phases[:, :-_LAG].conj()
    features = np.concatenate([turned.real, turned.imag], axis=1).reshape(len(signals), -1)
    # Not a matrix product: its threads would compete with the workers of `prepare`.
    projected = np.einsum("rf,fb->rb", features, _directions(features.shape[1]))
    bits = np.packbits(projected > 0, axis=1)
    bits[~has_content.any(1) | (np.asarray(valid_samples) < _SHORTEST_S * rate_hz)] = 0
    return bits.view(">u8").astype(np.uint64)


def to_text(sketches: np.ndarray) -> list[str]:
    """Returns sketches as `DIGITS` hexadecimal digits each, as the table stores them."""
    return [row.astype(">u8").tobytes().hex() for row in sketches]


def distances(sketches: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the number of bits by which each sketch differs from the nearest known one.

    Twenty thousand are compared with twenty thousand in a second.

    Args:
      sketches: uint64 [recording, WORDS].
      known: uint64 [known recording, WORDS].

    Returns:
      int64 [recording]; 64 WORDS, the most, if it is farther than `MOST_APART` from all, if there
      is none, or if it is 0, the sketch of a recording without content.

    Raises:
      InputError: the known ones are no sketches of recordings.
    """
    nearest = np.full(len(sketches), 64 * WORDS)
    rows_with_content = np.flatnonzero(sketches.any(1))
    sketches = sketches[rows_with_content]
    known = known[known.any(1)]
    for rows, columns in _candidates(sketches, known):
        apart = np.bitwise_count(sketches[rows] ^ known[columns]).sum(1, dtype=np.int64)
        close = apart <= MOST_APART
        np.minimum.at(nearest, rows_with_content[rows[close]], apart[close])
    return nearest


def _candidates(sketches: np.ndarray, known: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields all pairs that are at most MOST_APART apart, and others.

    One of the `_PIECES` then has at most one different bit, so that few pairs remain to be counted
    (Norouzi et al. 2012, doi:10.1109/CVPR.2012.6248043).

    Raises:
      InputError: far too many pieces are alike, which takes hours: they are not those of ECGs.
    """
    random_pairs = len(sketches) * len(known) * _PIECES * 17 / 2**16
    left = _FREE_PAIRS + _MOST_ALIKE * random_pairs
    own_pieces = np.ascontiguousarray(sketches).view(np.uint16)
    known_pieces = np.ascontiguousarray(known).view(np.uint16)
    for piece in range(_PIECES):
        order = np.argsort(known_pieces[:, piece], kind="stable")
        starts = np.searchsorted(known_pieces[order, piece], np.arange(2**16 + 1))
        for flipped in (0, *(1 << bit for bit in range(16))):
            keys = own_pieces[:, piece] ^ np.uint16(flipped)
            first = starts[keys]
            count = starts[keys.astype(int) + 1] - first
            ends = np.cumsum(count)
            left -= count.sum()
            if left < 0:
                raise InputError(
                    f"{len(known):,} sketches of known recordings, too many of them alike; take "
                    f"the checkpoint or the data set again from its source"
                )
            for begin in range(0, total := int(ends[-1]) if len(ends) else 0, _BLOCK):
                pairs = np.arange(begin, min(begin + _BLOCK, total))
                rows = np.searchsorted(ends, pairs, side="right")
                yield rows, order[first[rows] + pairs - (ends - count)[rows]]


def are_copies(sketches: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Tells which recordings are copies of known ones, bool [recording]; see `distances`."""
    return distances(sketches, known) <= MOST_APART


def distinct_rows(sketches: np.ndarray) -> np.ndarray:
    """Returns the distinct sketches but 0, ascending."""
    sketches = sketches[sketches.any(1)]
    ordered = sketches[np.lexsort(sketches.T[::-1])]
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(1)
    return ordered[is_new]


def _spectra(signals: np.ndarray, rate_hz: float, valid_samples: np.ndarray) -> np.ndarray:
    """Returns the spectra in uV, complex [recording, frequency, lead], every 0.1 Hz."""
    size = max(1, int(rate_hz / _LEAST_HZ))
    averages_uv = _averages(_windowed(signals, valid_samples), size)
    period = round(_STEP_S * rate_hz / size)
    # The spectrum of a longer recording at these frequencies is that of its sum over periods.
    padding = [(0, 0), (0, -averages_uv.shape[1] % period), (0, 0)]
    folded_uv = np.pad(averages_uv, padding).reshape(len(signals), -1, period, len(_LEADS)).sum(1)
    spectra = np.fft.rfft(folded_uv, axis=1)[:, _FREQUENCIES]
    return spectra * (size / np.maximum(valid_samples, 1))[:, None, None]


def _windowed(signals: np.ndarray, valid_samples: np.ndarray) -> np.ndarray:
    """Returns the leads in uV without their mean, times a Hann window over the valid samples."""
    values = signals[:, :, _LEADS]
    present = values != MISSING
    values_uv = np.where(present, values, 0.0)
    mean_uv = values_uv.sum(1, keepdims=True) / np.maximum(present.sum(1, keepdims=True), 1)
    place = np.arange(1, signals.shape[1] + 1) / (valid_samples[:, None] + 1)
    window = np.sin(math.pi * np.minimum(place, 1)) ** 2
    return np.where(present, values_uv - mean_uv, 0.0) * window[:, :, None]


def _averages(values: np.ndarray, size: int) -> np.ndarray:
    """Returns averages of blocks of `size` samples."""
    if size == 1:
        return values
    blocks = values.shape[1] // size
    return values[:, : blocks * size].reshape(len(values), blocks, size, -1).mean(2)


@functools.cache
def _directions(features: int) -> np.ndarray:
    """Returns fixed random directions of +1 and -1, float64 [features, 64 WORDS]."""
    octets = hashlib.shake_256(b"ecgjax sketch 1").digest(features * 8 * WORDS)
    signs = np.unpackbits(np.frombuffer(octets, np.uint8)).reshape(features, 64 * WORDS)
    return 2.0 * signs - 1.0
