"""What the electrodes add: baseline wander, muscle, mains hum, moving and badly attached electrodes.

Noise belongs to the nine electrodes (RA, LA, LL, V1 to V6), before leads are formed, so that III = II - I holds for it
too, and a bad right-arm electrode shows in every lead. Spectra are in mV^2/Hz and independent of the sampling rate.
"""

import numpy as np

MAINS_HZ = 50.0

ELECTRODES_TO_LEADS = np.array(
    [
        [-1, 1, 0],  # I = LA - RA
        [-1, 0, 1],  # II = LL - RA
        *[[-1 / 3, -1 / 3, -1 / 3]] * 6,  # V1 to V6 against Wilson's central terminal
    ]
)
ELECTRODES_TO_LEADS = np.hstack([ELECTRODES_TO_LEADS, np.vstack([np.zeros((2, 6)), np.eye(6)])])
"""[8, 9] I, II, V1..V6 from the nine electrodes."""


def electrode_noise(rng, *, samples: int, rate_hz: float, breath_hz: float) -> np.ndarray:
    """Noise of the nine electrodes in mV, float32 [time, 9].

    Args:
      rng: NumPy generator.
      samples: length of the recording.
      rate_hz: sampling rate in Hz.
      breath_hz: breaths a second; part of the wander is breathing.
    """
    time_s = np.arange(samples) / rate_hz
    noise = rng.lognormal(0, 0.8) * _wander(rng, time_s, breath_hz)
    noise += rng.lognormal(0, 0.5) * _muscle(rng, time_s, rate_hz)
    if rate_hz > 2 * MAINS_HZ:
        # At 100 Hz the anti-aliasing filter of the device has removed the mains.
        noise += _mains(rng, time_s)
    if rng.random() < 0.12:
        noise[:, rng.integers(9)] += _motion(rng, time_s)
    if rng.random() < 0.03:
        noise[:, rng.integers(9)] += _loose(rng, time_s, rate_hz)
    return noise.astype(np.float32)


def _coloured(rng, *, samples: int, rate_hz: float, columns: int, density) -> np.ndarray:
    """Gaussian noise [time, columns] with the power density `density(frequency_hz)` in mV^2/Hz."""
    frequency_hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    shape = np.sqrt(density(frequency_hz) * rate_hz * samples / 4)
    white = rng.standard_normal((frequency_hz.size, columns, 2), np.float32).view(np.complex64)[..., 0]
    return np.fft.irfft(white * shape[:, None].astype(np.float32), n=samples, axis=0)


def _wander(rng, time_s: np.ndarray, breath_hz: float) -> np.ndarray:
    """Polarisation drift below 0.5 Hz and breathing."""
    # Slow, so made at 10 Hz and interpolated; twice as long as needed, because the noise is periodic.
    rate_hz = 10.0
    coarse_s = np.arange(0, 2 * time_s[-1], 1 / rate_hz)
    slow = _coloured(
        rng,
        samples=coarse_s.size,
        rate_hz=rate_hz,
        columns=9,
        density=lambda hz: 3e-5 / (hz**2 + 0.05**2) * (hz > 0.02) * np.exp(-((hz / 0.6) ** 2)),
    )
    breath = 0.015 * rng.lognormal(0, 0.5, 9) * np.sin(2 * np.pi * breath_hz * coarse_s + rng.uniform(0, 6.28))[:, None]
    return np.stack([np.interp(time_s, coarse_s, column) for column in (slow + breath).T], axis=1)


def _muscle(rng, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """Muscle and amplifier noise, 15 Hz and up; the limbs have more of it; sometimes in bursts."""
    noise = _coloured(
        rng,
        samples=time_s.size,
        rate_hz=rate_hz,
        columns=9,
        density=lambda hz: 1.6e-7 * np.minimum(hz / 15, 1) ** 2 / (1 + (hz / 80) ** 2),
    )
    noise *= rng.lognormal(0, 0.3, 9) * np.array([1.5] * 3 + [0.6] * 6)
    if rng.random() < 0.15:
        middle_s, width_s = rng.uniform(0, time_s[-1]), rng.uniform(0.3, 2.0)
        noise *= 1 + rng.uniform(1, 6) * np.exp(-0.5 * ((time_s[:, None] - middle_s) / width_s) ** 2)
    return noise


def _mains(rng, time_s: np.ndarray) -> np.ndarray:
    """50 Hz hum, median 3 uV an electrode."""
    turn = 2 * np.pi * (MAINS_HZ + 0.05 * rng.standard_normal()) * time_s[:, None]
    return 0.003 * rng.lognormal(0, 0.8) * np.sin(turn + rng.uniform(0, 2 * np.pi)) * rng.lognormal(0, 0.5, 9)


def _motion(rng, time_s: np.ndarray) -> np.ndarray:
    """An electrode that is pulled: a jump that fades within a second, once or twice."""
    total = np.zeros(time_s.size)
    for _ in range(rng.integers(1, 3)):
        since_s = np.maximum(time_s - rng.uniform(0, time_s[-1]), 0)
        rise, fade = 1 - np.exp(-since_s / 0.03), np.exp(-since_s / rng.uniform(0.2, 1.0))
        total += rng.choice([-1, 1]) * rng.lognormal(-1.2, 0.5) * rise * fade
    return total


def _loose(rng, time_s: np.ndarray, rate_hz: float) -> np.ndarray:
    """An electrode with poor contact for the whole recording."""
    crackle = _coloured(
        rng,
        samples=time_s.size,
        rate_hz=rate_hz,
        columns=1,
        density=lambda hz: 2e-2 / (hz**2 + 1.0) * np.exp(-((hz / 30) ** 2)),
    )
    return rng.lognormal(0, 0.4) * crackle[:, 0]
