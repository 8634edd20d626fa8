"""Augmentations on the device: (signal, key) -> signal, for one recording float32 [time, lead] in mV.

All have static shapes and draw from an explicit key, so `jax.vmap` makes one draw a recording and a resumed run repeats
the uninterrupted one. `Augmentation` is the recipe that an objective carries in its settings.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from ecgjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How two views of a recording are made to differ. A value of 0 switches an augmentation off.

    Views are made of what the encoder would see. To one whose preprocessing normalises (`zscore_lead`,
    `zscore_recording`) a millivolt of noise or wander is therefore a standard deviation.
    """

    crop_s: float = 2.5
    """Length of a view in seconds, a random piece of it (Mehari & Strodthoff 2022, arXiv:2103.12676: 2.5)."""
    lead_mask: float = 0.5
    """A view's share of silenced leads is drawn uniformly from 0 to this."""
    gain: float = 0.2
    """Each view's amplitude is multiplied by exp(N(0, gain))."""
    noise_mv: float = 0.02
    """Standard deviation of white noise in mV, scaled by a uniform draw a view."""
    wander_mv: float = 0.1
    """Largest amplitude of a baseline wander of 0.05 to 0.5 Hz in mV, one phase and amplitude a lead."""
    time_out: float = 0.25
    """Longest silenced span, as a share of the view (TimeOut of Mehari & Strodthoff 2022)."""
    shortest_time_out: float = 0.0
    """Shortest silenced span, as a share of the view."""
    stretch: float = 0.0
    """A piece of 1 - stretch to all of the crop is stretched to its length, unevenly."""

    def __post_init__(self):
        if not (
            self.crop_s > 0 and all(0 <= value < math.inf for value in dataclasses.astuple(self))
        ):
            raise InputError(f"{self}: crop_s must be positive, and nothing negative or infinite")
        if (
            self.stretch >= 1
            or not self.shortest_time_out <= self.time_out <= 1
            or self.lead_mask > 1
        ):
            raise InputError(
                f"{self}: stretch must be below 1, lead_mask and time_out at most 1, and shortest_time_out at most "
                f"time_out"
            )

    def view(self, signal: jax.Array, key: jax.Array, *, rate_hz: float) -> jax.Array:
        """One view of one recording: float32 [time, lead] -> [crop_s * rate_hz, lead]."""
        crop_key, gain_key, wander_key, noise_key, time_key, lead_key, stretch_key = (
            jax.random.split(key, 7)
        )
        samples = min(round(self.crop_s * rate_hz), signal.shape[0])
        if samples < 1:
            raise InputError(
                f"crop_s {self.crop_s}: less than a sample at {rate_hz:g} Hz; give a longer one"
            )
        view = crop(signal, crop_key, samples=samples)
        view = stretch(view, stretch_key, most=self.stretch) if self.stretch else view
        view = scale(view, gain_key, spread=self.gain) if self.gain else view
        view = (
            baseline_wander(view, wander_key, rate_hz=rate_hz, most_mv=self.wander_mv)
            if self.wander_mv
            else view
        )
        view = white_noise(view, noise_key, most_mv=self.noise_mv) if self.noise_mv else view
        if self.time_out:
            view = time_out(view, time_key, longest=self.time_out, shortest=self.shortest_time_out)
        return lead_mask(view, lead_key, most=self.lead_mask) if self.lead_mask else view

    def views(
        self, signals: jax.Array, key: jax.Array, *, rate_hz: float, each: int = 1
    ) -> jax.Array:
        """Views of each recording: float32 [batch, time, lead] -> [batch * each, crop_s * rate_hz, lead].

        Those of one recording stand one after the other.
        """
        signals = jnp.repeat(signals, each, axis=0)
        keys = jax.random.split(key, signals.shape[0])
        views = jax.vmap(lambda signal, key: self.view(signal, key, rate_hz=rate_hz))(signals, keys)
        # On a TPU the first convolution and its gradient would each make the views anew (cycles of a step: 2.67 M, and
        # 1.99 M with the barrier, by `ecgjax.launch.compile`).
        return jax.lax.optimization_barrier(views)


GENTLE_VIEWS = Augmentation(lead_mask=0.0, gain=0.1, noise_mv=0.01, wander_mv=0.05, time_out=0.0)
"""What leaves a label true: a piece of 2.5 s with all its leads, a little louder or noisier."""
PLAIN_VIEWS = Augmentation(
    crop_s=10.0, lead_mask=0.0, gain=0.0, noise_mv=0.0, wander_mv=0.0, time_out=0.0
)
"""A piece of 10 s as it is."""
MEHARI_VIEWS = Augmentation(
    crop_s=2.5,
    stretch=0.5,
    time_out=0.4,
    shortest_time_out=0.2,
    lead_mask=0,
    gain=0,
    noise_mv=0,
    wander_mv=0,
)
"""RandomResizedCrop and TimeOut, those of SimCLR, BYOL and SwAV in Mehari & Strodthoff 2022 (arXiv:2103.12676)."""


def crop(signal: jax.Array, key: jax.Array, *, samples: int) -> jax.Array:
    """A random piece of `samples` samples; every start is equally likely."""
    start = jax.random.randint(key, (), 0, signal.shape[0] - samples + 1)
    return jax.lax.dynamic_slice_in_dim(signal, start, samples, axis=0)


def stretch(signal: jax.Array, key: jax.Array, *, most: float) -> jax.Array:
    """A random piece of the signal, of 1 - `most` to all of it, stretched to its length with a jitter.

    Each sample of the piece is given a place of its own, drawn at random but in order, and what is between is
    interpolated linearly: the resize of Mehari & Strodthoff 2022 (RandomResizedCrop of hhi-aml/ecg-selfsupervised).
    """
    time = signal.shape[0]
    share_key, start_key, place_key = jax.random.split(key, 3)
    kept = jnp.round(time * (1 - jax.random.uniform(share_key, maxval=most))).astype(jnp.int32)
    start = jax.random.randint(start_key, (), 0, time - kept + 1)
    position = jnp.arange(time)
    taken = jax.random.permutation(place_key, time) < kept
    before = jax.lax.cummax(jnp.where(taken, position, -1))
    after = jax.lax.cummin(jnp.where(taken, position, time), reverse=True)
    left = jnp.cumsum(taken) - 1  # of the piece's samples; -1 before the first
    right = jnp.minimum(left + ~taken, kept - 1)
    share = ((position - before) / jnp.maximum(after - before, 1)).astype(signal.dtype)[:, None]
    piece = jnp.take(signal, start + jnp.stack([jnp.maximum(left, 0), right]), axis=0)
    return piece[0] + share * (piece[1] - piece[0])


def scale(signal: jax.Array, key: jax.Array, *, spread: float) -> jax.Array:
    """Amplitude times exp(N(0, spread)), the same for all leads: Einthoven's law still holds."""
    return signal * jnp.exp(spread * jax.random.normal(key))


def baseline_wander(
    signal: jax.Array, key: jax.Array, *, rate_hz: float, most_mv: float
) -> jax.Array:
    """A slow sine a lead, of 0.05 to 0.5 Hz (respiration and movement) and up to `most_mv` mV."""
    time, leads = signal.shape
    frequency_key, phase_key, amplitude_key = jax.random.split(key, 3)
    frequency_hz = jax.random.uniform(frequency_key, (), minval=0.05, maxval=0.5)
    phase = jax.random.uniform(phase_key, (1, leads), maxval=2 * jnp.pi)
    amplitude_mv = jax.random.uniform(amplitude_key, (1, leads), maxval=most_mv)
    seconds = jnp.arange(time)[:, None] / rate_hz
    return signal + amplitude_mv * jnp.sin(2 * jnp.pi * frequency_hz * seconds + phase)


def white_noise(signal: jax.Array, key: jax.Array, *, most_mv: float) -> jax.Array:
    """Gaussian noise whose standard deviation is drawn from 0 to `most_mv` mV, in 256 equally likely amplitudes."""
    level_key, noise_key = jax.random.split(key)
    # Four samples a random word and a table: jax.random.normal took a quarter of a training step on a CPU.
    words = jax.random.bits(noise_key, (-(-signal.size // 4),), jnp.uint32)
    levels = (
        jax.lax.bitcast_convert_type(words, jnp.uint8)
        .reshape(-1)[: signal.size]
        .reshape(signal.shape)
    )
    deviates = jnp.asarray(_NORMAL_QUANTILES)[levels.astype(jnp.int32)]
    return signal + most_mv * jax.random.uniform(level_key) * deviates


_NORMAL_QUANTILES = scipy.special.ndtri((np.arange(256) + 0.5) / 256).astype(np.float32)


def time_out(
    signal: jax.Array, key: jax.Array, *, longest: float, shortest: float = 0.0
) -> jax.Array:
    """All leads silent for a span of `shortest` to `longest` of the view."""
    time = signal.shape[0]
    span_key, start_key = jax.random.split(key)
    span = jax.random.uniform(span_key, minval=shortest, maxval=longest) * time
    start = jax.random.uniform(start_key) * (time - span)
    position = jnp.arange(time)[:, None]
    return jnp.where((position >= start) & (position < start + span), 0.0, signal)


def lead_mask(signal: jax.Array, key: jax.Array, *, most: float) -> jax.Array:
    """Each lead silent with a probability drawn from 0 to `most` for the whole view."""
    share_key, lead_key = jax.random.split(key)
    silent = jax.random.uniform(lead_key, signal.shape[-1:]) < jax.random.uniform(
        share_key, maxval=most
    )
    return jnp.where(silent, 0.0, signal)
