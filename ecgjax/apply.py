"""Application of a model to recordings: raw signals, prepared data sets, or stored samples."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from ecgjax.data.inference import (
    Windows,
    average_over_windows,
    divide,
    divide_records,
    divide_stored,
)
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.signals import MISSING, UV_PER_UNIT, rate_ratio, unit_name
from tfds_builders.recording import checks, leads, padding, windows
from tfds_builders.recording.leads import TWELVE, LeadRule, StoredSignal
from tfds_builders.recording.quality import RecordingError

OnBad = Literal["raise", "nan"]
Step = Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Application:
    """A function of windows that is applied to recordings of any length and origin.

    A recording longer than the model's window is divided into several windows, whose results are
    averaged; see `ecgjax.data.inference`.
    """

    preprocessing: Preprocessing
    """Preprocessing of the model."""
    width: int
    """Number of results of a recording."""
    make_step: Callable[[float], Step]
    """Returns the jitted function of int16 [batch, time, 12] for recordings of a rate in Hz."""

    def to_signal(
        self,
        signal: np.ndarray,
        *,
        rate_hz: float,
        leads: Sequence[str],
        units: str,
        allow_missing_leads: bool = False,
        on_bad: OnBad = "raise",
        batch_size: int = 64,
    ) -> np.ndarray:
        """Returns float32 [width] or [recording, width] of raw signals; see `Encoder.embed`."""
        signal = _without_mask(signal)
        _check_call(signal, leads, on_bad, batch_size)
        model_hz = self.preprocessing.rate_hz
        rate_ratio(rate_hz, model_hz)  # refuses an impossible rate
        window_s = self.preprocessing.seconds
        divide(signal.shape[-2], rate_hz=rate_hz, window_s=window_s)
        rule = LeadRule(self.preprocessing.leads, allow_missing_leads)
        recordings = signal if signal.ndim == 3 else signal[None]
        usable: dict[int, np.ndarray] = {}
        pieces: list[Windows] = []
        for index, stored in as_stored(recordings, leads, units, rule=rule, on_bad=on_bad):
            try:
                recording = _to_rate(stored, rate_hz, model_hz)
                samples = padding.valid_samples(recording)
                pieces.append(divide(samples, rate_hz=model_hz, window_s=window_s))
                usable[index] = recording
            except InputError as error:
                if on_bad == "raise":
                    raise InputError(f"recording {index}: {error}") from None
        results = np.full((len(recordings), self.width), np.nan, np.float32)
        rows = np.array([*usable], int)
        results[rows] = self._to_windows(
            lambda positions: np.stack([usable[row] for row in rows[positions]]),
            pieces,
            model_hz,
            batch_size,
        )
        return results if signal.ndim == 3 else results[0]

    def to_records(
        self, records: Records, indices: np.ndarray, *, batch_size: int = 256
    ) -> np.ndarray:
        """Returns float32 [len(indices), width] of prepared recordings."""
        indices = np.asarray(indices)
        windows = divide_records(records, indices, window_s=self.preprocessing.seconds)
        return self._to_windows(
            lambda rows: records.read(indices[rows]), windows, records.rate_hz, batch_size
        )

    def to_stored(
        self,
        signals: np.ndarray,
        valid_samples: np.ndarray,
        *,
        rate_hz: float,
        batch_size: int = 256,
    ) -> np.ndarray:
        """Returns float32 [recording, width] of stored samples.

        Args:
          signals: int16 [recording, time, 12], 1 uV per LSB, in the order of LEADS.
          valid_samples: samples of each recording without padding, [recording].
          rate_hz: their sampling rate, in Hz.
          batch_size: windows that are computed at once.
        """
        window_s = self.preprocessing.seconds
        windows = divide_stored(
            np.asarray(valid_samples), signals.shape[1], rate_hz=rate_hz, window_s=window_s
        )
        return self._to_windows(lambda rows: signals[rows], windows, rate_hz, batch_size)

    def _to_windows(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        windows: Sequence[Windows],
        rate_hz: float,
        batch_size: int,
    ) -> np.ndarray:
        if not windows:
            return np.zeros((0, self.width), np.float32)
        return average_over_windows(self.make_step(rate_hz), read, windows, batch_size)


def _to_rate(stored: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Returns a recording at the model's rate as `prepare` stores it, in whole microvolts.

    Padding is at the end, and dropouts are missing samples.
    """
    signal = StoredSignal(stored, ())
    try:
        return windows.to_rate(signal, from_hz=from_hz, to_hz=to_hz, origin="signal").signal
    except RecordingError as error:
        raise InputError(str(error).removeprefix("signal: ")) from error


def _check_call(signal: np.ndarray, names: Sequence[str], on_bad: str, batch_size: int) -> None:
    if signal.dtype.kind not in "iuf":
        raise InputError(f"signal of type {signal.dtype}: give floats or integers")
    if signal.ndim not in (2, 3) or signal.shape[-1] != len(names):
        raise InputError(
            f"signal of shape {signal.shape} with {len(names)} leads: "
            f"give [time, lead] or [recording, time, lead]"
        )
    if on_bad not in ("raise", "nan"):
        raise InputError(f"on_bad {on_bad!r}: give 'raise' or 'nan'")
    if batch_size < 1:
        raise InputError(f"batch_size {batch_size}: give 1 or more")


def _without_mask(signal: np.ndarray) -> np.ndarray:
    """Returns an array with NaN in place of masked samples."""
    if isinstance(signal, np.ma.MaskedArray):
        return np.ma.filled(signal.astype(np.float64), np.nan)
    return np.asarray(signal)


def as_stored(
    signal: np.ndarray,
    names: Sequence[str],
    units: str,
    *,
    rule: LeadRule = TWELVE,
    on_bad: OnBad = "raise",
) -> Iterator[tuple[int, np.ndarray]]:
    """Converts raw recordings to the stored form with the functions that `prepare` uses.

    Args:
      signal: [recording, time, lead] in `units`, NaN (int16: MISSING) for missing samples.
      names: names of the leads.
      units: V, mV, uV or nV.
      rule: the leads that are needed.
      on_bad: "raise" refuses a recording without a usable ECG, "nan" leaves it out.

    Yields:
      The index of each recording, and int16 [time, 12], 1 uV per LSB, in the order of LEADS.

    Raises:
      InputError: unknown units, absent leads, or a recording that is no ECG.
    """
    unit = unit_name(units)
    if unit is None:
        raise InputError(f"units {units!r}: give one of {', '.join(UV_PER_UNIT)}")
    try:
        leads.find(names, "signal", rule)
    except RecordingError as error:  # its remedy is for the command line
        problem = str(error).partition("; ")[0]
        raise InputError(
            f"{problem}; name each lead once, or give allow_missing_leads=True"
        ) from None
    for index, recording in enumerate(signal):
        value_uv = np.asarray(recording, np.float64) * UV_PER_UNIT[unit]
        value_uv[~np.isfinite(value_uv)] = np.nan
        if recording.dtype.newbyteorder("=") == np.int16:
            value_uv[recording == MISSING] = np.nan
        try:
            stored = leads.to_stored(value_uv, names, f"recording {index}", rule).signal
            checks.require_ecg(stored, f"recording {index}")
        except RecordingError as error:
            if on_bad == "raise":
                raise InputError(f"{error} (units: {unit}); on_bad='nan' skips it") from error
        else:
            yield index, stored
