"""Augmentations on the device: (signal, key) -> signal, one recording float32 [time, lead] in mV.

A new augmentation is a function, a field of `Augmentation` and a line in `view`. Its key comes from
`jax.random.fold_in(key, NUMBER)`: a longer split would change the draws of all other augmentations.

All shapes are static and each draw uses an explicit key. `jax.vmap` therefore gives every recording
its own draw, and a resumed run repeats the draws of an uninterrupted one. `Augmentation` is the
recipe that an objective carries in its settings.
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
    """Strength of each random change that makes a view of a recording; 0 switches a change off.

    Views are made from the encoder's input. If the preprocessing normalises (`zscore_lead`,
    `zscore_recording`), one millivolt of noise or wander therefore means one standard deviation.
    """

    crop_s: float | None = 2.5
    """Length of a view in seconds, cropped at a random place (Mehari & Strodthoff 2022,
    arXiv:2103.12676: 2.5). None: the whole recording."""
    lead_mask: float = 1.0
    """Largest share of leads set to zero; drawn uniformly from 0 to this for each view. With 1 the
    encoder learns to use any subset of the leads (docs/results.md)."""
    gain: float = 0.2
    """Spread of the random gain: each view's amplitude is multiplied by exp(N(0, gain))."""
    noise_mv: float = 0.02
    """Largest standard deviation of white noise, in mV; drawn uniformly from 0 for each view."""
    wander_mv: float = 0.1
    """Largest amplitude of baseline wander (0.05 to 0.5 Hz), in mV; each lead has its own phase."""
    time_out: float = 0.25
    """Longest span set to zero, as a share of the view (TimeOut of Mehari & Strodthoff 2022)."""
    shortest_time_out: float = 0.0
    """Shortest span set to zero, as a share of the view."""
    stretch: float = 0.0
    """Strength of the time stretch: a piece of 1 - stretch to all of the crop is stretched unevenly
    to the length of the crop."""

    def __post_init__(self):
        positive = self.crop_s is None or self.crop_s > 0
        values = [value for value in dataclasses.astuple(self) if value is not None]
        if not (positive and all(0 <= value < math.inf for value in values)):
            raise InputError(f"{self}: crop_s must be positive, and nothing negative or infinite")
        if (
            self.stretch >= 1
            or not self.shortest_time_out <= self.time_out <= 1
            or self.lead_mask > 1
        ):
            raise InputError(
                f"{self}: stretch must be below 1, lead_mask and time_out at most 1, and "
                f"shortest_time_out at most time_out"
            )

    def view(self, signal: jax.Array, key: jax.Array, *, rate_hz: float) -> jax.Array:
        """Makes one view of one recording: float32 [time, lead] -> [crop_s * rate_hz, lead]."""
        crop_key, gain_key, wander_key, noise_key, time_key, lead_key, stretch_key = (
            jax.random.split(key, 7)
        )
        view = crop(signal, crop_key, samples=self._samples(signal.shape[0], rate_hz))
        present = jnp.any(view != 0, axis=0)
        if self.stretch:
            view = stretch(view, stretch_key, most=self.stretch)
        if self.gain:
            view = scale(view, gain_key, spread=self.gain)
        if self.wander_mv:
            view = baseline_wander(view, wander_key, rate_hz=rate_hz, most_mv=self.wander_mv)
        if self.noise_mv:
            view = white_noise(view, noise_key, most_mv=self.noise_mv)
        view = jnp.where(present, view, 0.0)  # leads that the recording lacks stay without noise
        if self.time_out:
            view = time_out(view, time_key, longest=self.time_out, shortest=self.shortest_time_out)
        if self.lead_mask:
            view = lead_mask(view, lead_key, most=self.lead_mask)
        return view

    def _samples(self, recording: int, rate_hz: float) -> int:
        """Returns the samples of a view: of the crop, at most those of the recording."""
        if self.crop_s is None:
            return recording
        samples = round(self.crop_s * rate_hz)
        if samples < 1:
            raise InputError(
                f"crop_s {self.crop_s}: less than a sample at {rate_hz:g} Hz; give a longer one"
            )
        return min(samples, recording)

    def views(
        self, signals: jax.Array, key: jax.Array, *, rate_hz: float, each: int = 1
    ) -> jax.Array:
        """Makes `each` views of every recording.

        float32 [batch, time, lead] -> [batch * each, crop_s * rate_hz, lead]. The views of one
        recording are neighbours.
        """
        signals = jnp.repeat(signals, each, axis=0)
        keys = jax.random.split(key, signals.shape[0])
        views = jax.vmap(lambda signal, key: self.view(signal, key, rate_hz=rate_hz))(signals, keys)
        # Without the barrier a TPU computes the views twice, for the first convolution and for its
        # gradient (2.67 M cycles a step, 1.99 M with the barrier, by `ecgjax.launch.compile`).
        return jax.lax.optimization_barrier(views)


# Named recipes start from OFF and name what they switch on. OFF has a 0 for every field, so a new
# augmentation stays out of them, whatever its default.
OFF = Augmentation(
    **{field.name: 0.0 for field in dataclasses.fields(Augmentation) if field.name != "crop_s"},
    crop_s=None,
)
"""The whole recording, unchanged."""
GENTLE_VIEWS = dataclasses.replace(OFF, crop_s=2.5, gain=0.1, noise_mv=0.01, wander_mv=0.05)
"""Views that keep a label true: 2.5 s with all leads, slightly scaled and with little noise."""
# Not None: the settings are saved in checkpoints, and runs begun with 10.0 must be able to resume.
PLAIN_VIEWS = dataclasses.replace(OFF, crop_s=10.0)
"""Crops of 10 s without any other change."""
MEHARI_VIEWS = dataclasses.replace(
    OFF, crop_s=2.5, stretch=0.5, time_out=0.4, shortest_time_out=0.2
)
"""RandomResizedCrop and TimeOut, used for SimCLR, BYOL and SwAV in Mehari & Strodthoff 2022
(arXiv:2103.12676)."""


def crop(signal: jax.Array, key: jax.Array, *, samples: int) -> jax.Array:
    """Cuts out `samples` consecutive samples; every start before the padding is equally likely."""
    present = jnp.any(signal != 0, axis=1)  # missing samples are 0 in all leads
    length = jnp.max(jnp.where(present, jnp.arange(1, signal.shape[0] + 1), 0))
    start = jax.random.randint(key, (), 0, jnp.maximum(length - samples, 0) + 1)
    return jax.lax.dynamic_slice_in_dim(signal, start, samples, axis=0)


def stretch(signal: jax.Array, key: jax.Array, *, most: float) -> jax.Array:
    """Stretches a random piece of the signal, 1 - `most` to all of it, unevenly to the full length.

    Each sample of the piece gets a random new position; the order stays. Samples in between are
    interpolated linearly, as in Mehari & Strodthoff 2022 (RandomResizedCrop of
    hhi-aml/ecg-selfsupervised).
    """
    time = signal.shape[0]
    share_key, start_key, place_key = jax.random.split(key, 3)
    length = jnp.round(time * (1 - jax.random.uniform(share_key, maxval=most))).astype(jnp.int32)
    start = jax.random.randint(start_key, (), 0, time - length + 1)
    position = jnp.arange(time)
    taken = jax.random.permutation(place_key, time) < length
    before = jax.lax.cummax(jnp.where(taken, position, -1))
    after = jax.lax.cummin(jnp.where(taken, position, time), reverse=True)
    left = jnp.cumsum(taken) - 1  # number within the piece; -1 before its first sample
    right = jnp.minimum(left + ~taken, length - 1)
    share = ((position - before) / jnp.maximum(after - before, 1)).astype(signal.dtype)[:, None]
    piece = jnp.take(signal, start + jnp.stack([jnp.maximum(left, 0), right]), axis=0)
    return piece[0] + share * (piece[1] - piece[0])


def scale(signal: jax.Array, key: jax.Array, *, spread: float) -> jax.Array:
    """Multiplies all leads by one exp(N(0, spread)), so that Einthoven's law still holds."""
    return signal * jnp.exp(spread * jax.random.normal(key))


def baseline_wander(
    signal: jax.Array, key: jax.Array, *, rate_hz: float, most_mv: float
) -> jax.Array:
    """Adds a slow sine to each lead: 0.05 to 0.5 Hz (breathing, movement), up to `most_mv` mV.

    All leads share the frequency; each has its own phase and amplitude.
    """
    time, leads = signal.shape
    frequency_key, phase_key, amplitude_key = jax.random.split(key, 3)
    frequency_hz = jax.random.uniform(frequency_key, (), minval=0.05, maxval=0.5)
    phase = jax.random.uniform(phase_key, (1, leads), maxval=2 * jnp.pi)
    amplitude_mv = jax.random.uniform(amplitude_key, (1, leads), maxval=most_mv)
    seconds = jnp.arange(time)[:, None] / rate_hz
    return signal + amplitude_mv * jnp.sin(2 * jnp.pi * frequency_hz * seconds + phase)


def white_noise(signal: jax.Array, key: jax.Array, *, most_mv: float) -> jax.Array:
    """Adds Gaussian noise with a standard deviation drawn from 0 to `most_mv` mV.

    The deviates are the 256 quantiles of the normal distribution, each equally likely.
    """
    level_key, noise_key = jax.random.split(key)
    # One random word serves four samples, with a table: jax.random.normal took a quarter of a
    # training step on a CPU.
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
    """Sets all leads to zero for a span of `shortest` to `longest`, as shares of the view."""
    time = signal.shape[0]
    span_key, start_key = jax.random.split(key)
    span = jax.random.uniform(span_key, minval=shortest, maxval=longest) * time
    start = jax.random.uniform(start_key) * (time - span)
    position = jnp.arange(time)[:, None]
    return jnp.where((position >= start) & (position < start + span), 0.0, signal)


def lead_mask(signal: jax.Array, key: jax.Array, *, most: float) -> jax.Array:
    """Sets each lead to zero with a probability drawn from 0 to `most` for the whole view.

    One of the leads that the recording has always stays.
    """
    share_key, lead_key = jax.random.split(key)
    draw = jax.random.uniform(lead_key, signal.shape[-1:])
    largest = jnp.max(jnp.where(jnp.any(signal != 0, axis=0), draw, -1.0))
    silent = (draw < jax.random.uniform(share_key, maxval=most)) & (draw != largest)
    return jnp.where(silent, 0.0, signal)
