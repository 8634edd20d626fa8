"""Preprocessing of recordings on the device, the same wherever an encoder is used."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.devices import map_rows
from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING, rate_ratio


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Settings that turn a stored recording into the encoder's input; saved in the checkpoint."""

    rate_hz: float = 100.0
    """Sampling rate of the encoder's input, in Hz."""
    seconds: float = 10.0
    """Length of a recording that the encoder expects, in seconds."""
    leads: tuple[str, ...] = LEADS
    """Leads of the encoder's input, in order."""
    units: Literal["mV"] = "mV"
    """Unit of the encoder's input before normalisation."""
    normalisation: Literal["none", "zscore_lead", "zscore_recording"] = "none"
    """none keeps mV; zscore_lead and zscore_recording scale to zero mean and unit variance."""
    clip_mv: float = 5.0
    """Limit of the amplitude, in mV: values beyond +-clip_mv are clipped before normalisation."""

    def __post_init__(self):
        if not (self.rate_hz > 0 and self.seconds > 0 and self.clip_mv > 0):
            raise InputError(f"{self}: rate_hz, seconds and clip_mv must be positive")
        if not self.leads or len(set(self.leads)) < len(self.leads):
            raise InputError(
                f"preprocessing: leads {' '.join(self.leads) or '(none)'}; "
                f"give one or more, each once"
            )
        if unknown := sorted(set(self.leads) - set(LEADS)):
            raise InputError(
                f"preprocessing: unknown lead {', '.join(unknown)}; known: {' '.join(LEADS)}"
            )

    @property
    def samples(self) -> int:
        """Number of samples of a whole recording at `rate_hz`."""
        return round(self.rate_hz * self.seconds)


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """Preprocessing for stored recordings of one sampling rate."""

    preprocessing: Preprocessing
    stored_hz: float
    """Sampling rate of the stored recordings, in Hz."""

    @property
    def rate_hz(self) -> float:
        """Sampling rate of the result, the encoder's, in Hz."""
        return self.preprocessing.rate_hz

    def __call__(self, signal: jax.Array) -> jax.Array:
        """Applies `preprocess`: int16 [..., time, lead] -> float32 [..., time', lead']."""
        return preprocess(signal, self.preprocessing, rate_hz=self.stored_hz)


def preprocess(signal: jax.Array, preprocessing: Preprocessing, *, rate_hz: float) -> jax.Array:
    """Turns stored recordings into the encoder's input.

    Args:
      signal: int16 [..., time, lead], 1 uV per LSB, leads in the order of `LEADS`, at `rate_hz`.
      preprocessing: settings that the encoder expects.
      rate_hz: sampling rate of `signal`, in Hz.

    Returns:
      float32 [..., time', lead'] in mV or normalised. Missing samples are 0 mV, the isoelectric
      line.
    """
    columns = [LEADS.index(lead) for lead in preprocessing.leads]
    if preprocessing.leads != LEADS:
        signal = signal[..., jnp.array(columns)]
    signal_mv = jnp.where(signal == MISSING, 0.0, signal.astype(jnp.float32) * 1e-3)
    signal_mv = resample(signal_mv, from_hz=rate_hz, to_hz=preprocessing.rate_hz)
    signal_mv = jnp.clip(signal_mv, -preprocessing.clip_mv, preprocessing.clip_mv)
    return _normalise(signal_mv, preprocessing)


def _normalise(signal_mv: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    if preprocessing.normalisation == "none":
        return signal_mv
    axes = (-2,) if preprocessing.normalisation == "zscore_lead" else (-2, -1)
    centred = signal_mv - signal_mv.mean(axes, keepdims=True)
    # At least 0.01 mV: the noise of a flat lead is not amplified.
    return centred / jnp.maximum(signal_mv.std(axes, keepdims=True), 0.01)


def resample(signal: jax.Array, *, from_hz: float, to_hz: float) -> jax.Array:
    """Resamples along time with an anti-aliasing polyphase filter.

    Filter and alignment are those of scipy.signal.resample_poly.

    Args:
      signal: float32 [..., time, lead] sampled at `from_hz`.
      from_hz: sampling rate of `signal`, in Hz.
      to_hz: sampling rate of the result, in Hz.

    Returns:
      float32 [..., ceil(time * to_hz / from_hz), lead].
    """
    up, down = rate_ratio(from_hz, to_hz)
    if up == down:
        return signal
    import scipy.signal  # here, because the import takes most of a second

    half = 10 * max(up, down)
    # The default of resample_poly: a Kaiser window (beta 5), ten periods of the slower rate a side.
    window: Any = ("kaiser", 5.0)
    taps = up * scipy.signal.firwin(2 * half + 1, 1 / max(up, down), window=window)
    time, leads = signal.shape[-2:]
    lead_major = jnp.moveaxis(signal, -1, -2).reshape(-1, time, 1)
    samples = -(-time * up // down)
    right = (samples - 1) * down + 1 + half - ((time - 1) * up + 1)
    out = jax.lax.conv_general_dilated(
        lead_major,
        jnp.asarray(taps, jnp.float32).reshape(-1, 1, 1),
        window_strides=(down,),
        padding=[(half, right)],
        lhs_dilation=(up,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    return jnp.moveaxis(out.reshape(*signal.shape[:-2], leads, samples), -1, -2)


def band_pass(signal: jax.Array, band_hz: tuple[float, float], *, rate_hz: float) -> jax.Array:
    """Band-pass filter: the gain of a Butterworth filter of order 4 at each end, without delay.

    Args:
      signal: float32 [batch, time, lead].
      band_hz: lower and upper cut-off frequency (gain 0.71), in Hz. An upper one beyond half of
        `rate_hz` has little effect.
      rate_hz: sampling rate of the signal, in Hz.

    Returns:
      The same shape. The signal is treated as periodic, so its two ends influence each other for
      about 1 / band_hz[0] s.
    """
    low_hz, high_hz = band_hz
    hz = np.fft.rfftfreq(signal.shape[1], 1 / rate_hz)
    above = 1 / np.sqrt(1 + (low_hz / np.maximum(hz, 1e-9)) ** 8)
    below = 1 / np.sqrt(1 + (hz / high_hz) ** 8)
    gain = (above * below).astype(np.float32)[None, :, None]
    return map_rows(
        lambda rows: jnp.fft.irfft(jnp.fft.rfft(rows, axis=1) * gain, rows.shape[1], axis=1), signal
    )
