"""Windows of the config's sampling rate and length from a recording of any rate and length.

Windows follow each other from the first sample without overlap. The rest at the end, and a
recording shorter than a window, is filled up with missing samples if it has `pad_from_s`; otherwise
the rest is dropped, and the short recording is rejected when it is read.
"""

import dataclasses
import datetime
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.signals import MISSING, rate_ratio
from tfds_builders.recording import leads, padding
from tfds_builders.recording.leads import LARGEST_UV, StoredSignal
from tfds_builders.recording.quality import SHORTEST_S, RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

RATES_HZ = (50, 50_000)
"""The lowest and the highest sampling rate accepted for an ECG."""
WRITTEN_DIGITS = 2e-6
"""Relative difference of a rate written with six digits from the exact one."""


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
    windows = count(samples, from_hz, config)
    if windows == 1:
        return [dataclasses.replace(recording, location=(recording.location, 0))]
    return [_window(recording, index, config.samples / config.rate_hz) for index in range(windows)]


def count(samples: int, from_hz: float, config: RecordingsConfig) -> int:
    """Returns the number of windows of a recording, 1 if it is too short for any.

    Args:
      samples: length of the recording in samples.
      from_hz: its sampling rate, in Hz.
      config: sampling rate and length of a window.
    """
    try:
        return max(1, _count(resampled_length(samples, from_hz, config.rate_hz), config))
    except RecordingError:
        return 1  # rejected for the same reason when it is read


def _count(samples: int, config: RecordingsConfig) -> int:
    """Returns the number of windows of a recording that has the config's rate."""
    count, rest = divmod(samples, config.samples)
    return count + (config.pad_from_s is not None and rest >= _shortest(config))


def _shortest(config: RecordingsConfig) -> int:
    """Returns the fewest samples that are filled up with missing ones."""
    shortest_s = max(config.pad_from_s or 0, SHORTEST_S)
    return min(config.samples, math.ceil(shortest_s * config.rate_hz))


def _window(recording: Recording, index: int, seconds: float) -> Recording:
    changes: dict[str, Any] = {"record_id": f"{recording.record_id}-w{index + 1}"}
    changes["location"] = (recording.location, index)
    if recording.recorded_at:
        offset = datetime.timedelta(seconds=int(index * seconds))
        changes["recorded_at"] = recording.recorded_at + offset
    return dataclasses.replace(recording, **changes)


def cut(signal: np.ndarray, index: int, config: RecordingsConfig, origin: str | Path) -> np.ndarray:
    """Returns window `index` of a stored recording [time, 12] that has the config's rate.

    Returns:
      int16 [config.samples, 12]. Missing samples in front, and further padding, are at the end.

    Raises:
      RecordingError: the window is too short.
    """
    start = index * config.samples
    window = padding.move_to_start(signal[start : start + config.samples], config.rate_hz)
    absent = config.samples - len(window)
    valid = padding.valid_samples(window)
    if not (absent or valid):
        return window  # it is rejected as missing
    if valid < _shortest(config) or (absent and not config.pad_from_s):
        raise _too_short(valid, config, origin)
    return np.pad(window, ((0, absent), (0, 0)), constant_values=MISSING) if absent else window


def _too_short(valid: int, config: RecordingsConfig, origin: str | Path) -> RecordingError:
    """Returns the error that names the length and, if there are any, options that keep it."""
    length_s = valid / config.rate_hz
    needed_s = config.pad_from_s or config.samples / config.rate_hz
    problem = f"{origin}: {length_s:g} s instead of at least {needed_s:g} s"
    fitting_s = 10 * valid // config.rate_hz / 10
    remedy = "leave it out"
    if fitting_s >= SHORTEST_S:
        remedy += f", give --pad-from {fitting_s:g} to fill it up with missing samples, or"
        remedy += f" --seconds {fitting_s:g} to shorten all recordings"
    return RecordingError("length", f"{problem}; {remedy}")


def convert(
    value_uv: np.ndarray,
    names: Sequence[str],
    *,
    from_hz: float,
    window: int,
    config: RecordingsConfig,
    origin: str | Path,
) -> dict[str, Any]:
    """Converts signals in microvolts to one window of the stored recording.

    Args:
      value_uv: float [time, signal], NaN for a missing sample.
      names: name of each signal, by which the leads are found.
      from_hz: sampling rate of the signals, in Hz.
      window: number of the window.
      config: sampling rate, length and leads of a window.
      origin: the file they come from, for the error message.

    Returns:
      The example: "signal", int16 [config.samples, 12] at 1 uV per LSB, MISSING for a missing
      sample; and "flags", quality flags that the samples do not show any more.

    Raises:
      RecordingError: as in `leads.to_stored`, `resample` and `cut`.
    """
    stored = leads.to_stored(value_uv, names, origin, config.lead_rule)
    stored = to_rate(stored, from_hz=from_hz, to_hz=config.rate_hz, origin=origin)
    return {"signal": cut(stored.signal, window, config, origin), "flags": stored.flags}


def to_rate(
    stored: StoredSignal, *, from_hz: float, to_hz: float, origin: str | Path
) -> StoredSignal:
    """Returns the recording at another sampling rate, with dropouts and padding as MISSING.

    Padding is at the end only.

    Args:
      stored: the recording.
      from_hz: present sampling rate, in Hz.
      to_hz: wanted sampling rate, in Hz.
      origin: the file it comes from, for the error message.

    Raises:
      RecordingError: as in `resample`.
    """
    _ratio(from_hz, to_hz, origin)
    if from_hz != to_hz:
        stored = leads.with_headroom(stored, origin)
    signal = padding.move_to_start(stored.signal, from_hz)
    signal = padding.mark_dropouts(signal, from_hz)
    signal = resample(signal, from_hz=from_hz, to_hz=to_hz, origin=origin)
    flags = (*stored.flags, *rate_flags(from_hz, to_hz))
    return StoredSignal(signal, flags)


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
      An overshoot of the filter beyond 16 bits is cut off.

    Raises:
      RecordingError: `from_hz` is no rate of an ECG.
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
    resampled = np.rint(out).clip(-LARGEST_UV, LARGEST_UV).astype(np.int16)
    if any_missing:
        resampled[_resampled_missing(missing, up, down, len(out))] = MISSING
    return resampled


def _ratio(from_hz: float, to_hz: float, origin: str | Path) -> tuple[int, int]:
    if not RATES_HZ[0] <= from_hz <= RATES_HZ[1]:
        problem = f"{origin}: {from_hz:g} Hz is no rate of an ECG"
        raise RecordingError("rate", f"{problem}; give between {RATES_HZ[0]} and {RATES_HZ[1]} Hz")
    return rate_ratio(from_hz, to_hz)


def rate_flags(from_hz: float, to_hz: float) -> tuple[str, ...]:
    """Returns ("drift",) if resampling uses another ratio than that of the two rates.

    A difference by the digits of a rate, such as 333.333 instead of 1000 / 3 Hz, does not count.
    """
    up, down = rate_ratio(from_hz, to_hz)
    return ("drift",) if abs(from_hz * up / (to_hz * down) - 1) > WRITTEN_DIGITS else ()


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
