"""The heart as one dipole, in mV along x = left, y = down, z = back, and the twelve leads that look at it.

Each wave of a beat is a sum of Gaussian pieces in time, each with its own direction: the dynamical model of
McSharry et al. 2003 (doi:10.1109/TBME.2003.808805), in three dimensions as in Sameni et al. 2007
(doi:10.1155/2007/43407). Times are relative to the beat instead of to a phase, because a QRS complex does not
get wider when the heart slows down.
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
"""[8, 3] The eight independent leads from x, y, z: Dower et al. 1980 (doi:10.1002/clc.1980.3.2.87)."""

CHEST_GAIN = np.array([0.9, 1.3, 1.1, 1.0, 1.0, 1.0])
"""V1 to V6 of PTB-XL against Dower's rows, by their median amplitudes: his V2 is small beside V1."""

P_WAVE, QRS_COMPLEX, T_WAVE = 1, 2, 3
"""Marks in the feature `waves`; 0 is everything else."""


class Waves(NamedTuple):
    """Gaussian pieces of the dipole."""

    centre_s: np.ndarray
    """[piece]"""
    sigma_s: np.ndarray
    """[piece]"""
    dipole_mv: np.ndarray
    """[piece, 3] at the centre."""

    def scaled(self, *, time: float = 1.0, size: float = 1.0) -> "Waves":
        return Waves(self.centre_s * time, self.sigma_s * time, self.dipole_mv * size)

    def turned(self, rotation: np.ndarray) -> "Waves":
        return self._replace(dipole_mv=self.dipole_mv @ rotation.T)

    def jittered(self, rng, share: float) -> "Waves":
        """Each piece stronger or weaker, and turned a little, by about `share` of its size."""
        size = np.sqrt((self.dipole_mv**2).sum(1, keepdims=True))
        strength = np.exp(share * rng.standard_normal(size.shape))
        return self._replace(
            dipole_mv=self.dipole_mv * strength
            + 0.5 * share * size * rng.standard_normal(self.dipole_mv.shape)
        )

    def repeated(self, at_s: np.ndarray, stretch: np.ndarray | float = 1.0) -> "Waves":
        """The pieces once for each of the times `at_s` [beat], each time stretched by its own factor."""
        stretch = np.broadcast_to(stretch, at_s.shape)[:, None]
        centre_s = at_s[:, None] + stretch * self.centre_s
        return Waves(
            centre_s.ravel(),
            (stretch * self.sigma_s).ravel(),
            np.tile(self.dipole_mv, (at_s.size, 1)),
        )


def pieces(*rows: tuple[float, float, np.ndarray | tuple[float, float, float]]) -> Waves:
    """Waves from rows of (centre in ms, sigma in ms, (x, y, z) in mV)."""
    centre_ms, sigma_ms, dipole_mv = zip(*rows, strict=True)
    return Waves(np.array(centre_ms) / 1e3, np.array(sigma_ms) / 1e3, np.array(dipole_mv, float))


def joined(*waves: Waves) -> Waves:
    return Waves(*(np.concatenate(parts) for parts in zip(*waves, strict=True)))


def rotation(angles: np.ndarray) -> np.ndarray:
    """[3, 3] rotation about left, then down, then back, by angles in radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    about_left = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_down = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_back = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_back @ about_down @ about_left


def evaluate(waves: Waves, *, samples: int, rate_hz: float) -> np.ndarray:
    """The dipole in mV, [time, 3]. Each piece is evaluated within five sigma of its centre only."""
    reach = int(np.ceil(5 * waves.sigma_s.max() * rate_hz))
    place = np.rint(waves.centre_s * rate_hz).astype(int)[:, None] + np.arange(-reach, reach + 1)
    height = np.exp(
        -0.5 * ((place / rate_hz - waves.centre_s[:, None]) / waves.sigma_s[:, None]) ** 2
    )
    inside = (place >= 0) & (place < samples)
    piece = np.broadcast_to(np.arange(len(place))[:, None], place.shape)[inside]
    place, height = place[inside], height[inside]
    return np.stack(
        [np.bincount(place, height * axis[piece], samples) for axis in waves.dipole_mv.T], axis=1
    )


class Span(NamedTuple):
    """Where waves of one kind begin and end."""

    mark: int
    begin_s: np.ndarray
    """[wave]"""
    end_s: np.ndarray
    """[wave]"""


def marked(spans: list[Span], *, samples: int, rate_hz: float) -> np.ndarray:
    """uint8 [time]: P_WAVE, QRS_COMPLEX, T_WAVE, or 0. Later spans paint over earlier ones."""
    marks = np.zeros(samples, np.uint8)
    for mark, begin_s, end_s in spans:
        begin, end = (
            np.clip(np.ceil(np.stack([begin_s, end_s]) * rate_hz), 0, samples).astype(int).tolist()
        )
        for first, last in zip(begin, end, strict=True):
            marks[first:last] = mark
    return marks


def twelve_leads(independent_mv: np.ndarray) -> np.ndarray:
    """int16 [time, 12] in uV from I, II, V1..V6 [time, 8] in mV.

    The other four come from the stored integers: III = II - I exactly; Goldberger's aVR, aVL, aVF to 1 uV.
    """
    independent = np.rint(independent_mv * 1e3).clip(-16000, 16000).astype(np.int32)
    one, two = independent[:, 0], independent[:, 1]
    augmented = -(one + two) // 2, (2 * one - two) // 2, (2 * two - one) // 2
    return np.column_stack([one, two, two - one, *augmented, independent[:, 2:]]).astype(np.int16)
