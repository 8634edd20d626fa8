"""Comparison of a stored window with a second reading of its recording."""

import math

import numpy as np

from ecgjax.signals import LEADS, MISSING, lead_columns, limb_weights, rate_ratio
from tfds_builders.second_readers.reading import Reading

SAME_RATE_UV = 0.5 + 1e-6
"""Tolerance: half of the stored LSB of 1 uV, and the rounding error of float64."""
RESAMPLED_UV = 2.0
"""Tolerance after resampling: a conversion rounds before the filter, too, whose weights add up to
less than 3 in absolute value."""
PADDING_S = 0.2
"""Shortest run of constant rows at an end of a recording that a conversion takes for padding."""
DROPOUT_S = 1.0
"""Shortest run of constant rows within a recording that a conversion takes for a gap."""
HALF_RANGE_UV = 32_000
"""Leads beyond it may have lost their offset before they were stored."""


def tolerance_uv(reading: Reading, rate_hz: float) -> float:
    """Returns the largest difference that rounding explains."""
    return SAME_RATE_UV if reading.rate_hz == rate_hz else RESAMPLED_UV


def compare(
    stored: np.ndarray, reading: Reading, window: int, rate_hz: float, names: dict[str, str]
) -> tuple[float, str]:
    """Returns the largest difference in microvolts, infinite if one lacks samples, and its place.

    Args:
      stored: int16 [time, 12], 1 uV per LSB, MISSING for a missing sample.
      reading: the whole recording.
      window: number of the stored window in it.
      rate_hz: the stored sampling rate, in Hz.
      names: lead by name, for names that the table of leads lacks.
    """
    held = (stored != MISSING).any(axis=0)
    leads_uv = _leads(reading, names)
    leads_uv[:, ~held] = np.nan
    expected = _window(_resample(leads_uv, reading.rate_hz, rate_hz), window, len(stored), rate_hz)
    if (stored[:, held] == MISSING).all(axis=1).any():
        stored, expected = _without_gaps(stored, expected)
    if len(stored) != len(expected):
        return np.inf, f"{len(stored)} samples, not {len(expected)}"
    missing = stored == MISSING
    difference = np.where(missing, np.nan, stored - expected)
    for lead in np.flatnonzero(np.nanmax(np.abs(expected), axis=0, initial=0) > HALF_RANGE_UV):
        difference[:, lead] -= np.rint(np.nanmedian(difference[:, lead]))
    if reading.rate_hz == rate_hz and (bad := missing != np.isnan(expected)).any():
        difference[bad] = np.inf
    worst = np.nan_to_num(np.abs(difference), posinf=np.inf)
    sample, lead = np.unravel_index(int(worst.argmax()), worst.shape)
    values = f"{_mv(stored[sample, lead])}, not {expected[sample, lead] / 1000:.6g} mV"
    return float(worst.max()), f"lead {LEADS[lead]}, sample {sample}: {values}"


def _mv(value: int) -> str:
    return "nan" if value == MISSING else f"{value / 1000:.6g} mV"


def _leads(reading: Reading, names: dict[str, str]) -> np.ndarray:
    """Returns float64 [time, 12], absent limb leads calculated where two are known."""
    columns = lead_columns(reading.names, reading.reader, names)
    leads_uv = np.full((len(reading.value_uv), len(LEADS)), np.nan)
    for lead, column in columns.items():
        leads_uv[:, LEADS.index(lead)] = reading.value_uv[:, column]
    for lead, pairs in limb_weights(tuple(columns)).items():
        leads_uv[:, LEADS.index(lead)] = sum(
            weight * leads_uv[:, LEADS.index(known)] for known, weight in pairs
        )
    return leads_uv


def _resample(leads_uv: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Returns the recording without padding at another rate; gaps are NaN, and what is less than
    one interval of the slower rate away from them."""
    leads_uv = _without_dropouts(_without_padding(leads_uv, from_hz), from_hz)
    up, down = rate_ratio(from_hz, to_hz)
    if up == down or not len(leads_uv):
        return leads_uv
    import scipy.signal

    absent = np.isnan(leads_uv)
    time = np.arange(len(leads_uv))
    for lead in np.flatnonzero(absent.any(axis=0) & ~absent.all(axis=0)):
        known = ~absent[:, lead]
        leads_uv[:, lead] = np.interp(time, time[known], leads_uv[known, lead])
    resampled = scipy.signal.resample_poly(
        np.nan_to_num(leads_uv), up, down, axis=0, padtype="line"
    )
    position = np.arange(len(resampled)) * down / up
    reach = max(1, down / up)
    for shift in range(-math.ceil(reach), math.ceil(reach) + 1):
        nearest = np.floor(position).astype(int) + shift
        reached = (
            (np.abs(nearest - position) < reach - 1e-9) & (0 <= nearest) & (nearest <= time[-1])
        )
        resampled[absent[np.clip(nearest, 0, time[-1])] & reached[:, None]] = np.nan
    return resampled


def _without_padding(leads_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    start = _padded(leads_uv, rate_hz)
    end = len(leads_uv) - _padded(leads_uv[::-1], rate_hz)
    return leads_uv[start:end] if start < end else leads_uv


def _without_dropouts(leads_uv: np.ndarray, rate_hz: float) -> np.ndarray:
    """Returns the recording with NaN where no lead was measured."""
    rows = np.nan_to_num(np.rint(leads_uv), nan=MISSING)
    parts = np.split(rows, np.flatnonzero(np.any(np.diff(rows, axis=0) != 0, axis=1)) + 1)
    lengths = np.array([len(part) for part in parts])
    dropped = np.repeat(lengths >= DROPOUT_S * rate_hz, lengths)
    if np.nanmax(np.abs(leads_uv), initial=0) > HALF_RANGE_UV:  # zero is no value near the offset
        dropped |= ~np.nan_to_num(leads_uv).any(axis=1)
    return leads_uv if dropped.all() else np.where(dropped[:, None], np.nan, leads_uv)


def _padded(leads_uv: np.ndarray, rate_hz: float) -> int:
    """Returns the rows in front that are missing, or constant for PADDING_S or longer."""
    known: np.ndarray = np.any(~np.isnan(leads_uv), axis=1)
    absent = int(known.argmax()) if known.any() else len(known)
    rest = np.nan_to_num(np.rint(leads_uv[absent:]), nan=MISSING)
    changes: np.ndarray = np.any(rest != rest[:1], axis=1)
    constant = int(changes.argmax()) if changes.any() else len(rest)
    return absent + (constant if constant >= max(2, round(PADDING_S * rate_hz)) else 0)


def _window(leads_uv: np.ndarray, window: int, samples: int, rate_hz: float) -> np.ndarray:
    """Returns a window without its padding, filled up with NaN."""
    part = _without_padding(leads_uv[window * samples : (window + 1) * samples], rate_hz)
    return np.pad(part, ((0, samples - len(part)), (0, 0)), constant_values=np.nan)


def _without_gaps(stored: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leaves out the rows without any sample, each of its own.

    Some readers close gaps between the parts of a recording, and padding is where it ends.
    """
    rows = (stored != MISSING).any(axis=1)
    known = ~np.isnan(expected).all(axis=1)
    return stored[rows], expected[known][: rows.sum()]
