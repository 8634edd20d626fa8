"""The heart as one dipole, in mV along x = left, y = down, z = back, and its twelve leads.

Each wave of a beat is a sum of Gaussian functions of time, each with its own direction. This is the
dynamical model of McSharry et al. 2003 (doi:10.1109/TBME.2003.808805), in three dimensions as in
Sameni et al. 2007 (doi:10.1155/2007/43407). Times are relative to the beat instead of a phase,
because a QRS complex does not become wider when the heart slows down.
"""

from typing import NamedTuple

import numpy as np

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],  # V6
    ]
)
"""Matrix [8, 3] from x, y, z to the eight independent leads: Dower et al. 1980
(doi:10.1002/clc.1980.3.2.87)."""

CHEST_GAIN = np.array([0.9, 1.3, 1.1, 1.0, 1.0, 1.0])
"""Gains of V1 to V6 that give the median amplitudes of PTB-XL; with Dower's matrix alone, V2 is too
small compared with V1."""

P_WAVE = 1
QRS_COMPLEX = 2
T_WAVE = 3
"""Values of the feature `waves`; all other samples are 0."""


class Waves(NamedTuple):
    """Gaussian components of the dipole."""

    centre_s: np.ndarray
    """Time of the maximum, [component]."""
    sigma_s: np.ndarray
    """Standard deviation, [component]."""
    dipole_mv: np.ndarray
    """Dipole at the maximum, [component, 3]."""

    def scaled(self, *, time: float = 1.0, size: float = 1.0) -> "Waves":
        """Returns the components with their times and dipoles multiplied by factors."""
        return Waves(self.centre_s * time, self.sigma_s * time, self.dipole_mv * size)

    def turned(self, rotation: np.ndarray) -> "Waves":
        """Returns the components turned by a rotation matrix [3, 3]."""
        return self._replace(dipole_mv=self.dipole_mv @ rotation.T)

    def jittered(self, rng: np.random.Generator, share: float) -> "Waves":
        """Returns each component randomly scaled and turned, by about `share` of its size."""
        size = np.sqrt((self.dipole_mv**2).sum(1, keepdims=True))
        strength = np.exp(share * rng.standard_normal(size.shape))
        return self._replace(
            dipole_mv=self.dipole_mv * strength
            + 0.5 * share * size * rng.standard_normal(self.dipole_mv.shape)
        )

    def repeated(self, onset_s: np.ndarray, stretch: np.ndarray | float = 1.0) -> "Waves":
        """Returns the components once per beat, from `onset_s` [beat], with times stretched."""
        stretch = np.broadcast_to(stretch, onset_s.shape)[:, None]
        centre_s = onset_s[:, None] + stretch * self.centre_s
        return Waves(
            centre_s.ravel(),
            (stretch * self.sigma_s).ravel(),
            np.tile(self.dipole_mv, (onset_s.size, 1)),
        )


def pieces(*rows: tuple[float, float, np.ndarray | tuple[float, float, float]]) -> Waves:
    """Returns waves from rows of (centre in ms, sigma in ms, (x, y, z) in mV)."""
    centre_ms, sigma_ms, dipole_mv = zip(*rows, strict=True)
    return Waves(np.array(centre_ms) / 1e3, np.array(sigma_ms) / 1e3, np.array(dipole_mv, float))


def joined(*waves: Waves) -> Waves:
    """Returns the components of all waves."""
    return Waves(*(np.concatenate(parts) for parts in zip(*waves, strict=True)))


def rotation(angles: np.ndarray) -> np.ndarray:
    """Returns the matrix [3, 3] of a rotation about left, down and back, in radians."""
    sx, sy, sz = np.sin(angles)
    cx, cy, cz = np.cos(angles)
    about_left = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_down = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_back = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_back @ about_down @ about_left


def evaluate(waves: Waves, *, samples: int, rate_hz: float) -> np.ndarray:
    """Returns the dipole in mV, [time, 3], from each component within five sigma of its centre."""
    reach = int(np.ceil(5 * waves.sigma_s.max() * rate_hz))
    centre = np.rint(waves.centre_s * rate_hz).astype(int)[:, None]
    position = centre + np.arange(-reach, reach + 1)
    height = np.exp(
        -0.5 * ((position / rate_hz - waves.centre_s[:, None]) / waves.sigma_s[:, None]) ** 2
    )
    inside = (position >= 0) & (position < samples)
    component = np.broadcast_to(np.arange(len(position))[:, None], position.shape)[inside]
    position = position[inside]
    height = height[inside]
    return np.stack(
        [np.bincount(position, height * axis[component], samples) for axis in waves.dipole_mv.T],
        axis=1,
    )


class Span(NamedTuple):
    """Begins and ends of all waves of one kind."""

    mark: int
    """P_WAVE, QRS_COMPLEX or T_WAVE."""
    begin_s: np.ndarray
    """Time of the begin, [wave]."""
    end_s: np.ndarray
    """Time of the end, [wave]."""


def marked(spans: list[Span], *, samples: int, rate_hz: float) -> np.ndarray:
    """Returns the mark of each sample, uint8 [time]; a later span overwrites an earlier one."""
    marks = np.zeros(samples, np.uint8)
    for mark, begin_s, end_s in spans:
        limits = np.ceil(np.stack([begin_s, end_s], axis=1) * rate_hz)
        for begin, end in limits.clip(0, samples).astype(int):
            marks[begin:end] = mark
    return marks


def twelve_leads(independent_mv: np.ndarray) -> np.ndarray:
    """Returns int16 [time, 12] in uV from I, II, V1..V6 [time, 8] in mV.

    The other four leads are calculated from the stored integers: III = II - I exactly, Goldberger's
    aVR, aVL and aVF within 1 uV.
    """
    independent = np.rint(independent_mv * 1e3).clip(-16000, 16000).astype(np.int32)
    one = independent[:, 0]
    two = independent[:, 1]
    augmented = -(one + two) // 2, (2 * one - two) // 2, (2 * two - one) // 2
    return np.column_stack([one, two, two - one, *augmented, independent[:, 2:]]).astype(np.int16)
