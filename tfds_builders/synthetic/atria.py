"""Fibrillatory waves and flutter waves of the atria, as a dipole [time, 3] in mV."""

import numpy as np


def fibrillatory(rng: np.random.Generator, time_s: np.ndarray, *, size_mv: float) -> np.ndarray:
    """Simulates f-waves: three wavelets of 4.5 to 8 Hz with varying rate and size, largest in V1.

    Each is a fundamental and a harmonic, modulated in amplitude and frequency: Stridh & Sornmo 2001
    (doi:10.1109/10.900266).

    Args:
      rng: random generator.
      time_s: times of the samples, [time] in seconds.
      size_mv: mean size of the fundamental.
    """
    total = np.zeros((time_s.size, 3))
    for _ in range(3):
        rate_hz, drift_hz, swell_hz = rng.uniform([4.5, 0.1, 0.1], [8.0, 0.5, 0.6])
        turn, drift, swell = rng.uniform(0, 2 * np.pi, 3)
        modulation = 1.2 * np.sin(2 * np.pi * drift_hz * time_s + drift)
        turn = turn + 2 * np.pi * rate_hz * time_s + modulation
        size = 1 + 0.6 * np.sin(2 * np.pi * swell_hz * time_s + swell)
        direction = np.array([-0.25, 0.4, -0.75]) + 0.25 * rng.standard_normal(3)
        total += np.outer(size * (np.sin(turn) + 0.35 * np.sin(2 * turn)), direction / 3)
    return size_mv * total


def fluttering(time_s: np.ndarray, *, cycle_s: float, begin_s: float, size_mv: float) -> np.ndarray:
    """Simulates typical flutter: a saw-tooth in II, III, aVF and upright waves in V1.

    The saw-tooth falls slowly and rises quickly.

    Args:
      time_s: times of the samples, [time] in seconds.
      cycle_s: cycle length, 0.18 to 0.24 s, which is 250 to 340 waves per minute.
      begin_s: a time at which the saw-tooth has just risen.
      size_mv: size of the fundamental.
    """
    # Four harmonics, weaker than a saw's: the teeth of real flutter are rounded.
    turn = 2 * np.pi / cycle_s * (time_s - begin_s)[:, None] * np.arange(1, 5)
    saw = np.sin(turn) @ [1, 0.45, 0.22, 0.1]
    upright = np.cos(turn) @ [1, 0.5, 0.2, 0.1]
    return size_mv * (np.outer(saw, [0.0, 0.6, 0.1]) + np.outer(upright, [-0.1, 0.0, -0.3]))
