"""Noise of the electrodes: baseline wander, muscle, mains hum, electrode motion and poor contact.

Noise is added to the nine electrodes (RA, LA, LL, V1 to V6) before leads are formed. Therefore it
obeys III = II - I, and noise of the right-arm electrode affects every lead. Spectra are power
densities in mV^2/Hz, the same at every sampling rate. The levels of the wander (below 0.5 Hz) and
of quiet segments above 20 Hz were set to PTB-XL's quantiles.
"""

from collections.abc import Callable

import numpy as np

MAINS_HZ = 50.0

TO_LEADS = np.vstack(
    [
        [-1, 1, 0, *[0] * 6],  # I = LA - RA
        [-1, 0, 1, *[0] * 6],  # II = LL - RA
        # V1 to V6 against Wilson's central terminal
        np.hstack([np.full((6, 3), -1 / 3), np.eye(6)]),
    ]
)
"""Matrix [8, 9] from the nine electrodes to I, II, V1..V6."""


def lead_noise(
    rng: np.random.Generator,
    time_s: np.ndarray,
    *,
    rate_hz: float,
    breath_hz: float,
    noisiness: float,
) -> np.ndarray:
    """Simulates the noise of I, II, V1..V6 in mV, [time, 8].

    Args:
      rng: random generator.
      time_s: times of the samples, [time] in seconds.
      rate_hz: sampling rate, in Hz.
      breath_hz: breaths per second; breathing is a part of the baseline wander.
      noisiness: factor of wander and muscle noise; 1 is a quiet room.
    """
    electrodes = noisiness * rng.lognormal(-0.2, 0.8) * _wander(rng, time_s, breath_hz)
    electrodes += noisiness * rng.lognormal(-0.2, 0.75) * _muscle(rng, time_s, rate_hz)
    if rate_hz > 2 * MAINS_HZ:  # at 100 Hz the anti-aliasing filter has removed it
        electrodes += _mains(rng, time_s)
    if rng.random() < 0.12:
        electrodes[:, rng.integers(9)] += _motion(rng, time_s)
    if rng.random() < 0.03:
        electrodes[:, rng.integers(9)] += _loose(rng, time_s, rate_hz)
    return electrodes @ TO_LEADS.T


def _coloured(
    rng: np.random.Generator,
    *,
    samples: int,
    rate_hz: float,
    columns: int,
    density: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Returns periodic Gaussian noise [time, columns] in mV.

    Its power density is `density(frequency_hz)`.
    """
    frequency_hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    shape = np.sqrt(density(frequency_hz) * rate_hz * samples / 4).astype(np.float32)
    parts = rng.standard_normal((columns, frequency_hz.size, 2), np.float32)
    white = parts.view(np.complex64)[..., 0]
    return np.fft.irfft(white * shape, n=samples).T


def _wander(rng: np.random.Generator, time_s: np.ndarray, breath_hz: float) -> np.ndarray:
    """Simulates baseline wander: polarisation drift below 0.6 Hz, and breathing."""

    def density(hz: np.ndarray) -> np.ndarray:
        return 3e-5 / (hz**2 + 0.05**2) * np.exp(-((hz / 0.6) ** 2))

    # It is slow, hence simulated at 10 Hz and interpolated. It has twice the length, since periodic
    # noise has equal ends.
    coarse_s = np.arange(0, 2 * time_s[-1], 0.1)
    slow = _coloured(rng, samples=coarse_s.size, rate_hz=10.0, columns=9, density=density)
    breath = np.sin(2 * np.pi * breath_hz * coarse_s + rng.uniform(0, 2 * np.pi))
    slow = slow + 0.015 * np.outer(breath, rng.lognormal(0, 0.5, 9))
    return np.stack([np.interp(time_s, coarse_s, column) for column in slow.T], axis=1)


def _muscle(rng: np.random.Generator, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Simulates muscle and amplifier noise above 15 Hz, larger at the limbs, with rare bursts."""

    def density(hz: np.ndarray) -> np.ndarray:
        return 8e-8 * np.minimum(hz / 15, 1) ** 2 / (1 + (hz / 80) ** 2)

    noise = _coloured(rng, samples=time_s.size, rate_hz=rate_hz, columns=9, density=density)
    noise = noise * rng.lognormal(0, 0.3, 9) * [*[1.5] * 3, *[0.6] * 6]
    if rng.random() < 0.15:
        middle_s = rng.uniform(0, time_s[-1])
        width_s = rng.uniform(0.3, 2.0)
        burst = np.exp(-0.5 * ((time_s - middle_s) / width_s) ** 2)
        noise *= 1 + rng.uniform(1, 6) * burst[:, None]
    return noise


def _mains(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Simulates mains hum at 50 Hz, 3 uV at a typical electrode."""
    turn = 2 * np.pi * rng.normal(MAINS_HZ, 0.05) * time_s + rng.uniform(0, 2 * np.pi)
    return 0.003 * rng.lognormal(0, 0.8) * np.outer(np.sin(turn), rng.lognormal(0, 0.5, 9))


def _motion(rng: np.random.Generator, time_s: np.ndarray) -> np.ndarray:
    """Simulates a pulled electrode: one or two jumps of about 0.3 mV that decay within a second."""
    total = np.zeros(time_s.size)
    for _ in range(rng.integers(1, 3)):
        since_s = np.maximum(time_s - rng.uniform(0, time_s[-1]), 0)
        rise = 1 - np.exp(-since_s / 0.03)
        decay = np.exp(-since_s / rng.uniform(0.2, 1.0))
        total += rng.choice([-1, 1]) * rng.lognormal(-1.2, 0.5) * rise * decay
    return total


def _loose(rng: np.random.Generator, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Simulates an electrode with poor contact in the whole recording, about 0.2 mV of crackle."""

    def density(hz: np.ndarray) -> np.ndarray:
        return 2e-2 / (hz**2 + 1) * np.exp(-((hz / 30) ** 2))

    crackle = _coloured(rng, samples=time_s.size, rate_hz=rate_hz, columns=1, density=density)
    return rng.lognormal(0, 0.4) * crackle[:, 0]
