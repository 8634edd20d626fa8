"""From a recording of any rate and length to windows of the config's rate and length.

The rule: windows follow each other from the first sample without overlap, and what remains at the end is dropped. A
recording that is shorter than a window has one, which is rejected when it is read.
"""

import dataclasses
import datetime
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgjax.signals import MISSING, rate_ratio
from tfds_builders.recording.leads import quantise
from tfds_builders.recording.quality import RecordingError

if TYPE_CHECKING:
    from tfds_builders.recording.recording import Recording, RecordingsConfig

RATES_HZ = (50, 50_000)
"""The lowest and the highest rate that is taken for one of an ECG."""
MAX_FACTOR = 20_000
"""Of the two factors of a conversion between rates; more is asked for by a rate that was miscalculated, not chosen."""


def each(
    recording: "Recording", *, samples: int, from_hz: float, config: "RecordingsConfig"
) -> list["Recording"]:
    """The windows of a recording of so many samples at `from_hz`. Their location is (recording.location, index).

    Several windows of a recording are told apart by a suffix, -w1 and so on, and by the time they begin.
    """
    try:
        count = length(samples, from_hz, config.rate_hz) // config.samples
    except RecordingError:
        count = 1  # rejected for the same reason when it is read
    if count <= 1:
        return [dataclasses.replace(recording, location=(recording.location, 0))]
    return [_window(recording, index, config.samples / config.rate_hz) for index in range(count)]


def _window(recording: "Recording", index: int, seconds: float) -> "Recording":
    changes: dict[str, Any] = {"record_id": f"{recording.record_id}-w{index + 1}"}
    changes["location"] = (recording.location, index)
    if recording.recorded_at:
        changes["recorded_at"] = recording.recorded_at + datetime.timedelta(
            seconds=int(index * seconds)
        )
    return dataclasses.replace(recording, **changes)


def cut(
    signal: np.ndarray, index: int, config: "RecordingsConfig", where: str | Path
) -> np.ndarray:
    """Window `index` of a stored recording [time, 12] at the config's rate.

    Raises:
      RecordingError: the recording is too short.
    """
    if (index + 1) * config.samples > len(signal):
        found, wanted = (
            count / config.rate_hz for count in (len(signal), (index + 1) * config.samples)
        )
        problem = f"{where}: {found:g} s instead of at least {wanted:g} s"
        raise RecordingError(
            "length", f"{problem}; leave it out, or choose a config of shorter recordings"
        )
    return signal[index * config.samples : (index + 1) * config.samples]


def length(samples: int, from_hz: float, to_hz: float) -> int:
    """Samples at `to_hz` of a recording with so many samples at `from_hz`."""
    up, down = _ratio(from_hz, to_hz, "recording")
    return -(-samples * up // down)


def resample(signal: np.ndarray, *, from_hz: float, to_hz: float, where: str | Path) -> np.ndarray:
    """Anti-aliased polyphase resampling of stored samples.

    Args:
      signal: int16 [time, lead] at 1 uV per LSB, MISSING where a sample is missing.
      from_hz: present rate, in Hz.
      to_hz: wanted rate, in Hz; up to this rate's half, less a narrow edge, all frequencies are kept.
      where: the file it comes from, for the error message.

    Returns:
      int16 [ceil(time * to_hz / from_hz), lead]. A sample is MISSING if one is less than an interval of the slower
      rate away from it in `signal`; a gap is bridged by a line, so that it does not ring in what surrounds it.

    Raises:
      RecordingError: `from_hz` is no rate of an ECG, or the result exceeds what 16 bits hold.
    """
    up, down = _ratio(from_hz, to_hz, where)
    if up == down:
        return signal
    import scipy.signal  # here: it takes most of a second, which every worker of a conversion would pay

    missing = signal == MISSING
    gaps = bool(missing.any())
    value_uv = _bridge(signal, missing) if gaps else signal.astype(np.float32)
    # line: the filter would otherwise see a step from 0 at both ends.
    out = scipy.signal.resample_poly(
        value_uv, up, down, axis=0, window=_taps(up, down), padtype="line"
    )
    if gaps:
        out[_near(missing, up, down, len(out))] = np.nan
    return quantise(out, where)


def _ratio(from_hz: float, to_hz: float, where: str | Path) -> tuple[int, int]:
    if not RATES_HZ[0] <= from_hz <= RATES_HZ[1]:
        problem = f"{where}: {from_hz:g} Hz is no rate of an ECG"
        raise RecordingError("rate", f"{problem}; give between {RATES_HZ[0]} and {RATES_HZ[1]} Hz")
    up, down = rate_ratio(from_hz, to_hz)
    if max(up, down) > MAX_FACTOR:
        problem = f"{where}: from {from_hz:.10g} to {to_hz:g} Hz is a ratio of {up} to {down}"
        raise RecordingError("rate", f"{problem}; correct the rate to what the device has")
    return up, down


@functools.lru_cache(maxsize=8)
def _taps(up: int, down: int) -> np.ndarray:
    """resample_poly's own filter, which it would calculate anew for each recording."""
    import scipy.signal

    slower = max(up, down)
    window: Any = ("kaiser", 5.0)
    taps: Any = scipy.signal.firwin(2 * 10 * slower + 1, 1 / slower, window=window)
    return taps.astype(np.float32)


def _bridge(signal: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """float32 with a line across each gap; a lead of which nothing is there is 0."""
    value_uv, time = np.where(missing, 0, signal).astype(np.float32), np.arange(len(signal))
    for lead in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        gap = missing[:, lead]
        value_uv[gap, lead] = np.interp(time[gap], time[~gap], value_uv[~gap, lead])
    return value_uv


def _near(missing: np.ndarray, up: int, down: int, samples: int) -> np.ndarray:
    """Which of `samples` resampled ones have a missing sample less than an interval of the slower rate away."""
    before = np.concatenate([np.zeros((1, missing.shape[1]), int), np.cumsum(missing, axis=0)])
    # In units of 1 / up of an interval of `missing`, which are whole numbers.
    position, reach = np.arange(samples) * down, max(up, down)
    first = np.clip((position - reach) // up + 1, 0, len(missing))
    end = np.clip(-(-(position + reach) // up), first, len(missing))
    return before[end] > before[first]
