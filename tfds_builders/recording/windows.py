"""Windows of the config's sampling rate and length from a recording of any rate and length.

Windows follow each other from the first sample without overlap; the rest at the end is dropped. A
recording shorter than a window has one window, which is rejected when it is read.
"""

import dataclasses
import datetime
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.signals import MISSING, rate_ratio
from tfds_builders.recording.leads import quantise, to_stored
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

RATES_HZ = (50, 50_000)
"""The lowest and the highest sampling rate accepted for an ECG."""
MAX_FACTOR = 20_000
"""Largest factor of a rate conversion up / down. Only a miscalculated rate needs a larger one."""


def divide(
    recording: Recording, *, samples: int, from_hz: float, config: RecordingsConfig
) -> list[Recording]:
    """Divides a recording into its windows, whose location is (recording.location, index).

    If there are several windows, their ids end with -w1, -w2 and so on, and their times differ.

    Args:
      recording: the whole recording.
      samples: its length in samples.
      from_hz: its sampling rate, in Hz.
      config: sampling rate and length of a window.
    """
    try:
        count = resampled_length(samples, from_hz, config.rate_hz) // config.samples
    except RecordingError:
        count = 1  # rejected for the same reason when it is read
    if count <= 1:
        return [dataclasses.replace(recording, location=(recording.location, 0))]
    return [_window(recording, index, config.samples / config.rate_hz) for index in range(count)]


def _window(recording: Recording, index: int, seconds: float) -> Recording:
    changes: dict[str, Any] = {"record_id": f"{recording.record_id}-w{index + 1}"}
    changes["location"] = (recording.location, index)
    if recording.recorded_at:
        offset = datetime.timedelta(seconds=int(index * seconds))
        changes["recorded_at"] = recording.recorded_at + offset
    return dataclasses.replace(recording, **changes)


def cut(signal: np.ndarray, index: int, config: RecordingsConfig, origin: str | Path) -> np.ndarray:
    """Returns window `index` of a stored recording [time, 12] that has the config's rate.

    Raises:
      RecordingError: the recording is too short.
    """
    start = index * config.samples
    end = start + config.samples
    if end > len(signal):
        length_s = len(signal) / config.rate_hz
        problem = f"{origin}: {length_s:g} s instead of at least {end / config.rate_hz:g} s"
        raise RecordingError(
            "length", f"{problem}; leave it out, or choose a config of shorter recordings"
        )
    return signal[start:end]


def convert(
    value_uv: np.ndarray,
    names: Sequence[str],
    *,
    from_hz: float,
    window: int,
    config: RecordingsConfig,
    origin: str | Path,
) -> np.ndarray:
    """Converts signals in microvolts to one window of the stored recording.

    Args:
      value_uv: float [time, signal], NaN for a missing sample.
      names: name of each signal, by which the twelve leads are found.
      from_hz: sampling rate of the signals, in Hz.
      window: number of the window.
      config: sampling rate and length of a window.
      origin: the file they come from, for the error message.

    Returns:
      int16 [config.samples, 12] at 1 uV per LSB, MISSING for a missing sample.

    Raises:
      RecordingError: as in `leads.to_stored`, `resample` and `cut`.
    """
    signal = to_stored(value_uv, names, origin)
    signal = resample(signal, from_hz=from_hz, to_hz=config.rate_hz, origin=origin)
    return cut(signal, window, config, origin)


def resampled_length(samples: int, from_hz: float, to_hz: float) -> int:
    """Returns the number of samples after `resample`, of a recording with `samples` before."""
    up, down = _ratio(from_hz, to_hz, "recording")
    return -(-samples * up // down)


def resample(signal: np.ndarray, *, from_hz: float, to_hz: float, origin: str | Path) -> np.ndarray:
    """Resamples stored samples with an anti-aliasing polyphase filter.

    Args:
      signal: int16 [time, lead] at 1 uV per LSB, MISSING for a missing sample.
      from_hz: present sampling rate, in Hz.
      to_hz: wanted sampling rate, in Hz. All frequencies up to half of it are kept, except for a
        narrow transition band.
      origin: the file it comes from, for the error message.

    Returns:
      int16 [ceil(time * to_hz / from_hz), lead]. A sample is MISSING if `signal` has a missing
      sample less than one interval of the slower rate away from it. Before the filter, gaps are
      filled by linear interpolation, so that they cause no ringing in the samples around them.

    Raises:
      RecordingError: `from_hz` is no rate of an ECG, or the result exceeds the range of 16 bits.
    """
    up, down = _ratio(from_hz, to_hz, origin)
    if up == down:
        return signal
    import scipy.signal  # here: it takes most of a second in every worker of a conversion

    missing = signal == MISSING
    any_missing = bool(missing.any())
    value_uv = _interpolate(signal, missing) if any_missing else signal.astype(np.float32)
    # padtype="line": otherwise the filter would see a step from 0 at both ends.
    out = scipy.signal.resample_poly(
        value_uv, up, down, axis=0, window=_filter(up, down), padtype="line"
    )
    if any_missing:
        out[_resampled_missing(missing, up, down, len(out))] = np.nan
    return quantise(out, origin)


def _ratio(from_hz: float, to_hz: float, origin: str | Path) -> tuple[int, int]:
    if not RATES_HZ[0] <= from_hz <= RATES_HZ[1]:
        problem = f"{origin}: {from_hz:g} Hz is no rate of an ECG"
        raise RecordingError("rate", f"{problem}; give between {RATES_HZ[0]} and {RATES_HZ[1]} Hz")
    up, down = rate_ratio(from_hz, to_hz)
    if max(up, down) > MAX_FACTOR:
        problem = f"{origin}: from {from_hz:.10g} to {to_hz:g} Hz is a ratio of {up} to {down}"
        raise RecordingError("rate", f"{problem}; correct the rate to that of the device")
    return up, down


@functools.lru_cache(maxsize=8)
def _filter(up: int, down: int) -> np.ndarray:
    """Returns resample_poly's default filter, which it would calculate again for each recording."""
    import scipy.signal

    slower = max(up, down)
    window: Any = ("kaiser", 5.0)
    taps: Any = scipy.signal.firwin(2 * 10 * slower + 1, 1 / slower, window=window)
    return taps.astype(np.float32)


def _interpolate(signal: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Returns float32 with gaps interpolated linearly; a lead without any sample is 0."""
    value_uv = np.where(missing, 0, signal).astype(np.float32)
    time = np.arange(len(signal))
    for lead in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        gap = missing[:, lead]
        value_uv[gap, lead] = np.interp(time[gap], time[~gap], value_uv[~gap, lead])
    return value_uv


def _resampled_missing(missing: np.ndarray, up: int, down: int, samples: int) -> np.ndarray:
    """Marks each of `samples` resampled samples that is too close to a missing one.

    Too close: less than one interval of the slower rate away.
    """
    first_row = np.zeros((1, missing.shape[1]), int)
    missing_before = np.concatenate([first_row, np.cumsum(missing, axis=0)])
    # In units of 1 / up of an interval of `missing`, all positions are whole numbers.
    position = np.arange(samples) * down
    reach = max(up, down)
    start = np.clip((position - reach) // up + 1, 0, len(missing))
    end = np.clip(-(-(position + reach) // up), start, len(missing))
    return missing_before[end] > missing_before[start]
