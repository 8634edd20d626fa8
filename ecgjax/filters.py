"""Filters that published encoders expect before their input; see `Preprocessing.filters`.

They are applied without delay, as by scipy.signal.filtfilt: the gain is the square of the filter's.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.devices import map_rows

Filters = Literal["none", "clef", "ecgfounder"]

BAND_HZ = (0.67, 40.0)
"""Pass band of both."""
NOTCH_HZ = 50.0
NOTCH_QUALITY = 30.0
MEMORY_S = 8.0
"""Time in which the filters forget their input, in seconds: the slowest pole, of the band-pass at
0.67 Hz, has a time constant of 0.6 s."""
MEDIAN_S = 0.4
"""Length of the windows of the running median, in seconds."""
MEDIAN_LEVELS = 256
"""Number of values that the running median can take."""


def apply_filters(signal_mv: jax.Array, filters: Filters, *, rate_hz: float) -> jax.Array:
    """Filters signals in the way of a published encoder.

    Args:
      signal_mv: float32 [..., time, lead] in mV.
      filters: "none"; "clef" (github.com/Nokia-Bell-Labs/ecg-foundation-model), a Butterworth
        band-pass of order 5; or "ecgfounder" (github.com/PKUDigitalHealth/ECGFounder), a notch at
        50 Hz, a band-pass of order 4, and the running median of 0.4 s subtracted.
      rate_hz: sampling rate, in Hz.

    Returns:
      float32 of the same shape.
    """
    if filters == "none":
        return signal_mv
    rows = jnp.moveaxis(signal_mv, -1, -2).reshape(-1, signal_mv.shape[-2])
    for sections in _sections(filters, rate_hz):
        rows = _filter_both_ways(rows, sections, rate_hz=rate_hz)
    if filters == "ecgfounder":
        rows = rows - running_median(rows, 2 * round(MEDIAN_S * rate_hz / 2) + 1)
    lead_major = rows.reshape(*signal_mv.shape[:-2], signal_mv.shape[-1], -1)
    return jnp.moveaxis(lead_major, -1, -2)


def _sections(filters: Filters, rate_hz: float) -> list[np.ndarray]:
    """Returns the second-order sections of each filter, in order, float [section, 6]."""
    import scipy.signal  # here, because the import takes most of a second

    # An upper end beyond half of the rate has no effect, but the filter must lie below it.
    band_hz = (BAND_HZ[0], min(BAND_HZ[1], 0.49 * rate_hz))
    order = {"clef": 5, "ecgfounder": 4}[filters]
    band: Any = scipy.signal.butter(order, band_hz, "bandpass", output="sos", fs=rate_hz)
    if filters == "clef" or 2 * NOTCH_HZ >= rate_hz:
        return [band]
    notch: Any = scipy.signal.tf2sos(*scipy.signal.iirnotch(NOTCH_HZ, NOTCH_QUALITY, rate_hz))
    return [notch, band]


def _filter_both_ways(rows: jax.Array, sections: Any, *, rate_hz: float) -> jax.Array:
    """Returns scipy.signal.sosfiltfilt of float32 [row, time], with its ends.

    Both ends are extended by their own mirror image, turned over, and before it by a constant, to
    which a filter in its steady state responds with nothing new.
    """
    import scipy.fft
    import scipy.signal

    time = rows.shape[1]
    edge = min(3 * (2 * len(sections) + 1), time - 1)
    length: Any = scipy.fft.next_fast_len(time + 2 * edge + round(MEMORY_S * rate_hz), real=True)
    hz: Any = np.fft.rfftfreq(length, 1 / rate_hz)
    response: Any = scipy.signal.sosfreqz(sections, hz, fs=rate_hz)[1]
    response = response.astype(np.complex64)[None]

    def filter_once(rows: jax.Array) -> jax.Array:
        memory = length - rows.shape[1]
        extended = jnp.pad(rows, ((0, 0), (memory, 0)), mode="edge")
        spectrum = jnp.fft.rfft(extended, axis=1) * response
        return jnp.fft.irfft(spectrum, length, axis=1)[:, memory:]

    def filter_rows(rows: jax.Array) -> jax.Array:
        before = 2 * rows[:, :1] - rows[:, edge:0:-1]
        after = 2 * rows[:, -1:] - rows[:, -2 : -edge - 2 : -1]
        forwards = filter_once(jnp.concatenate([before, rows, after], axis=1))
        return filter_once(forwards[:, ::-1])[:, ::-1][:, edge : edge + time]

    return map_rows(filter_rows, rows)


def running_median(rows: jax.Array, window: int) -> jax.Array:
    """Returns the running median of float32 [row, time], with zeros beyond both ends.

    The median of a window is the first of MEDIAN_LEVELS quantiles of the whole row that half of the
    window's samples do not exceed. Counting them needs no sorting of windows.

    Args:
      rows: float32 [row, time].
      window: odd number of samples of a window.
    """

    def median(row: jax.Array) -> jax.Array:
        positions = np.linspace(0, row.shape[0] - 1, MEDIAN_LEVELS).round().astype(int)
        levels = jnp.sort(row)[positions]
        padded = jnp.pad(row, window // 2)
        counts = _window_sum((padded[None] <= levels[:, None]).astype(jnp.int16), window)
        below = (counts <= window // 2).sum(0)
        return levels[jnp.minimum(below, MEDIAN_LEVELS - 1)]

    # One row after the other: the counts take 128 times the memory of the signals.
    return map_rows(lambda rows: jax.lax.map(median, rows), rows)


def _window_sum(values: jax.Array, window: int) -> jax.Array:
    """Returns the sum of each window of [row, time]: [row, time - window + 1].

    A window is put together from sums over 1, 2, 4, ... samples: few passes over the values.
    """
    samples = values.shape[1] - window + 1
    total = jnp.zeros_like(values[:, :samples])
    first = 0
    for digit in range(window.bit_length()):
        length = 2**digit
        if window & length:
            total = total + values[:, first : first + samples]
            first += length
        if first < window:
            values = values[:, :-length] + values[:, length:]
    return total
