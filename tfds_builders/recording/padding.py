"""Samples that were not measured: padding before and after a recording, and dropouts within it.

Files of equal length are often made by adding zeros, or the last value again, to shorter
recordings. Gaps are filled in the same way.
"""

import numpy as np

from ecgjax.signals import MISSING

PADDING_S = 0.2
"""Shortest run of samples at an end, constant in all leads at once, that is padding. In PTB-XL at
100 Hz no recording has such a run of 0.08 s; at 500 Hz its last value is repeated for 0.1 s."""
DROPOUT_S = 1.0
"""Shortest run of samples within a recording, constant in all leads at once, that is a gap. No
recording of PTB-XL has such a run of 0.5 s, and lead I alone has none either."""


def move_to_start(signal: np.ndarray, rate_hz: float) -> np.ndarray:
    """Returns the recording with its first sample in front and all padding behind it, as MISSING.

    Args:
      signal: int16 [time, lead], 1 uV per LSB, MISSING for a missing sample.
      rate_hz: sampling rate, in Hz.

    Returns:
      The same array if there is no padding, and if there is nothing else.
    """
    least = max(2, round(PADDING_S * rate_hz))
    start = _padded_rows(signal, least)
    end = len(signal) - _padded_rows(signal[::-1], least)
    if not 0 < end - start < len(signal):
        return signal
    moved = np.full_like(signal, MISSING)
    moved[: end - start] = signal[start:end]
    return moved


def mark_dropouts(signal: np.ndarray, rate_hz: float) -> np.ndarray:
    """Returns the recording with runs of DROPOUT_S, constant in all leads at once, as MISSING.

    Args:
      signal: int16 [time, lead], 1 uV per LSB, MISSING for a missing sample.
      rate_hz: sampling rate, in Hz.

    Returns:
      The same array if there is no such run, and if there is nothing else.
    """
    least = max(2, round(DROPOUT_S * rate_hz))
    sparse = signal[:: least // 2]
    if not (sparse[1:] == sparse[:-1]).all(axis=1).any():  # nearly all recordings
        return signal
    repeated = (signal[1:] == signal[:-1]).all(axis=1)
    edges = np.flatnonzero(np.diff(repeated, prepend=False, append=False))
    constant = np.zeros(len(signal), bool)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        constant[start : end + 1] = end + 1 - start >= least
    if constant.all() or not constant.any():
        return signal
    return np.where(constant[:, None], np.int16(MISSING), signal)


def valid_samples(signal: np.ndarray) -> int:
    """Returns the number of samples up to the last one that is not missing in all leads.

    Args:
      signal: int16 [time, lead], MISSING for a missing sample.
    """
    return len(signal) - _missing_rows(signal[::-1])


def _padded_rows(signal: np.ndarray, least: int) -> int:
    """Returns the number of rows in front that are missing, or constant for `least` rows."""
    absent = _missing_rows(signal)
    rest = signal[absent:]
    if len(rest) < least or (rest[least - 1] != rest[0]).any():  # nearly all recordings
        return absent
    constant = (rest[:least] == rest[0]).all()
    return absent + _rows_before(np.any(rest != rest[0], axis=1)) if constant else absent


def _missing_rows(signal: np.ndarray) -> int:
    """Returns the number of rows in front that are missing in all leads."""
    if not len(signal) or (signal[0] != MISSING).any():
        return 0
    return _rows_before(np.any(signal != MISSING, axis=1))


def _rows_before(condition: np.ndarray) -> int:
    """Returns the number of rows before the first one for which the condition is true."""
    return int(condition.argmax()) if condition.any() else len(condition)
