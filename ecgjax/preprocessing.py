"""Preprocessing of recordings on the device, the same wherever an encoder is used."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from ecgjax.devices import map_rows
from ecgjax.errors import InputError
from ecgjax.filters import Filters, apply_filters
from ecgjax.signals import LEADS, MISSING, rate_ratio

Units = Literal["mV"]
Baseline = Literal["none", "mean", "median", "high_pass"]
Normalisation = Literal["none", "zscore_lead", "zscore_recording"]

BASELINE_S = 1.0
"""Half length of the triangular window whose average `high_pass` subtracts, in seconds."""
BLOCK_S = 0.1
"""Length of the blocks whose averages make up that average, in seconds."""
MOST_SAMPLES = 5_000_000
"""Longest input of an encoder, in samples."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Settings that turn a stored recording into the encoder's input; saved in the checkpoint."""

    rate_hz: float = 100.0
    """Sampling rate of the encoder's input, in Hz."""
    seconds: float = 10.0
    """Length of a recording that the encoder expects, in seconds. Longer ones are divided."""
    window_s: float | None = 5.0
    """Length of the windows, half overlapping, whose embeddings are averaged, in seconds. Then a
    shorter recording has similar embeddings. None: one window, the whole recording."""
    leads: tuple[str, ...] = LEADS
    """Leads of the encoder's input, in order."""
    units: Units = "mV"
    """Unit of the encoder's input before normalisation."""
    baseline: Baseline = "high_pass"
    """Baseline that is removed from each lead before anything else looks at the amplitude: mean or
    median of its samples, or high_pass, a moving average; none keeps offsets and wander."""
    filters: Filters = "none"
    """Filters that a published encoder expects, applied at rate_hz: clef or ecgfounder."""
    normalisation: Normalisation = "none"
    """none keeps mV; zscore_lead and zscore_recording scale to zero mean and unit variance."""
    clip_mv: float = 5.0
    """Limit of the amplitude, in mV: values beyond +-clip_mv are clipped before normalisation."""

    def __post_init__(self):
        window_s = self.seconds if self.window_s is None else self.window_s
        numbers = (self.rate_hz, self.seconds, window_s, self.clip_mv)
        if not all(isinstance(number, int | float) and 0 < number < math.inf for number in numbers):
            raise InputError(f"{self}: rate_hz, seconds, window_s and clip_mv must be positive")
        if self.rate_hz * max(self.seconds, window_s) > MOST_SAMPLES:
            raise InputError(f"{self}: more than {MOST_SAMPLES:,} samples; give fewer seconds")
        if self.rate_hz * min(self.seconds, window_s) < 1:
            raise InputError(f"{self}: seconds and window_s must last a sample or more")
        for value, kind in (
            (self.units, Units),
            (self.baseline, Baseline),
            (self.filters, Filters),
            (self.normalisation, Normalisation),
        ):
            if value not in get_args(kind):
                raise InputError(f"preprocessing: {value!r}; give {', '.join(get_args(kind))}")
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


def absent_leads_note(preprocessing: Preprocessing, leads: Sequence[str], data_set: str) -> str:
    """Returns a line for the log on the encoder's leads that a data set lacks, or ""."""
    absent = [lead for lead in preprocessing.leads if lead not in leads]
    if not absent:
        return ""
    return f"{data_set}: lacks lead {', '.join(absent)}; the encoder sees missing samples there"


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


def cut_windows(signal: jax.Array, window_s: float | None, *, rate_hz: float) -> jax.Array:
    """Cuts signals into windows that overlap by about half and together hold every sample.

    Args:
      signal: [batch, time, lead].
      window_s: length of a window in seconds; None, or more than the signal: the whole signal.
      rate_hz: sampling rate of the signal, in Hz.

    Returns:
      [batch, window, window_s * rate_hz, lead], windows evenly spread.
    """
    time = signal.shape[1]
    length = time if window_s is None else min(round(window_s * rate_hz), time)
    count = max(1, -(-2 * time // length) - 1)
    starts = np.linspace(0, time - length, count).round().astype(int)
    return jnp.stack([signal[:, start : start + length] for start in starts], axis=1)


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
    present = signal != MISSING
    signal_mv = jnp.where(present, signal.astype(jnp.float32) * 1e-3, 0.0)
    signal_mv = remove_baseline(signal_mv, present, preprocessing.baseline, rate_hz=rate_hz)
    signal_mv = resample(signal_mv, from_hz=rate_hz, to_hz=preprocessing.rate_hz)
    signal_mv = apply_filters(signal_mv, preprocessing.filters, rate_hz=preprocessing.rate_hz)
    signal_mv = jnp.clip(signal_mv, -preprocessing.clip_mv, preprocessing.clip_mv)
    return _normalise(signal_mv, preprocessing)


def remove_baseline(
    signal_mv: jax.Array, present: jax.Array, baseline: str, *, rate_hz: float
) -> jax.Array:
    """Subtracts the baseline of each lead, as `Preprocessing.baseline` says.

    Args:
      signal_mv: float32 [..., time, lead] in mV, 0 where a sample is missing.
      present: bool of the same shape, False for a missing sample, which counts for nothing.
      baseline: none, mean, median or high_pass.
      rate_hz: sampling rate of the signal, in Hz.

    Returns:
      float32 of the same shape. Missing samples are 0 mV, now the baseline.
    """
    if baseline == "none":
        return signal_mv
    if baseline == "median":
        level_mv = _median(signal_mv, present)
    else:
        count = present.sum(-2, keepdims=True, dtype=jnp.float32)
        level_mv = signal_mv.sum(-2, keepdims=True) / jnp.maximum(count, 1)
    centred_mv = jnp.where(present, signal_mv - level_mv, 0.0)
    if baseline != "high_pass":
        return centred_mv
    wander_mv = _slow_part(centred_mv, present, rate_hz=rate_hz)
    return jnp.where(present, centred_mv - wander_mv, 0.0)


def _median(signal: jax.Array, present: jax.Array) -> jax.Array:
    """Median of the present samples, [..., 1, lead]; 0 without any; exporters lack nanmedian."""
    ordered = jnp.sort(jnp.where(present, signal, jnp.inf), axis=-2)
    count = present.sum(-2, keepdims=True, dtype=jnp.int32)
    place = jax.lax.broadcasted_iota(jnp.int32, signal.shape, signal.ndim - 2)
    middle = (jnp.abs(2 * place - (count - 1)) <= 1) & (count > 0)  # one sample or two
    total = jnp.where(middle, ordered, 0.0).sum(-2, keepdims=True)
    return total / jnp.maximum(middle.sum(-2, keepdims=True, dtype=jnp.float32), 1)


def _slow_part(signal: jax.Array, present: jax.Array, *, rate_hz: float) -> jax.Array:
    """Returns the average over about BASELINE_S around each sample, of the present samples.

    Averages of blocks of BLOCK_S are averaged with a triangular window, shorter at both ends, and
    interpolated linearly: a few small matrix products in place of a long filter.
    """
    time = signal.shape[-2]
    block = max(1, round(BLOCK_S * rate_hz))
    blocks = -(-time // block)
    centre = np.minimum((np.arange(blocks) + 0.5) * block, time) - 0.5
    distance_s = np.abs(centre[:, None] - centre) / rate_hz
    window = np.maximum(1 - distance_s / BASELINE_S, 0).astype(np.float32)
    position = np.interp(np.arange(time), centre, np.arange(blocks))
    between = np.maximum(1 - np.abs(position[:, None] - np.arange(blocks)), 0).astype(np.float32)
    padding = [(0, 0)] * (signal.ndim - 2) + [(0, blocks * block - time), (0, 0)]

    def window_sum(values: jax.Array) -> jax.Array:
        whole = jnp.pad(values, padding).reshape(*values.shape[:-2], blocks, block, -1)
        return jnp.einsum("bc,...cl->...bl", window, whole.sum(-2), precision="highest")

    count = window_sum(present.astype(jnp.float32))
    average = window_sum(signal) / jnp.maximum(count, 1)
    return jnp.einsum("tb,...bl->...tl", between, average, precision="highest")


def _normalise(signal_mv: jax.Array, preprocessing: Preprocessing) -> jax.Array:
    if preprocessing.normalisation == "none":
        return signal_mv
    axes = (-2,) if preprocessing.normalisation == "zscore_lead" else (-2, -1)
    present = None  # all samples
    if preprocessing.baseline != "none":
        present = signal_mv != 0  # a missing sample is exactly 0, hardly any other one
    centred = signal_mv - signal_mv.mean(axes, keepdims=True, where=present)
    deviation = signal_mv.std(axes, keepdims=True, where=present)
    # At least 0.01 mV: the noise of a flat lead is not amplified.
    scaled = centred / jnp.maximum(jnp.nan_to_num(deviation), 0.01)
    return scaled if present is None else jnp.where(present, scaled, 0.0)


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
        precision="highest",
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
