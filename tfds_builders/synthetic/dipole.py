"""What a beat looks like: a current dipole that turns in space, seen by twelve leads.

The heart is one dipole (the vectorcardiogram), in mV along x = left, y = down, z = back. Each wave is a sum of Gaussian
pieces in time, each with its own direction: the dynamical model of McSharry et al. 2003 (doi:10.1109/TBME.2003.808805)
in three dimensions as in Sameni et al. 2007 (doi:10.1155/2007/43407), abnormal beats as in Clifford et al. 2010
(doi:10.1088/0967-3334/31/5/001). Times are relative to the beat instead of to a phase, because a QRS complex does not
get wider when the heart slows down. The pieces of the normal beat were fitted by least squares to the median normal
beat of 284 PTB-XL recordings (doi:10.1038/s41597-020-0495-6), residual below 0.02 mV.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tfds_builders.synthetic.rhythm import ATRIAL, VENTRICULAR, Beats

P_WAVE, QRS_COMPLEX, T_WAVE = 1, 2, 3
"""Marks in the feature `waves`; 0 is everything else."""

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
"""[8, 3] The eight independent leads from x, y, z: Dower et al. 1980 (doi:10.1002/clc.4960030203)."""
CHEST_GAIN = np.array([0.9, 1.3, 1.1, 1.0, 1.0, 1.0])
"""V1 to V6 in PTB-XL against Dower's rows, whose V2 is too small beside V1: ratio of median amplitudes."""


class Waves(NamedTuple):
    """Gaussian pieces of the dipole."""

    centre_s: np.ndarray
    """[piece]"""
    sigma_s: np.ndarray
    """[piece]"""
    dipole_mv: np.ndarray
    """[piece, 3] at the centre."""

    def scaled(self, *, time: float = 1.0, dipole=1.0) -> "Waves":
        return Waves(self.centre_s * time, self.sigma_s * time, self.dipole_mv * dipole)

    def turned(self, rotation: np.ndarray) -> "Waves":
        return self._replace(dipole_mv=self.dipole_mv @ rotation.T)


class Span(NamedTuple):
    """Where waves of one kind begin and end."""

    mark: int
    begin_s: np.ndarray
    """[wave]"""
    end_s: np.ndarray
    """[wave]"""


def pieces(*rows: tuple[float, float, tuple[float, float, float]]) -> Waves:
    """Waves from rows of (centre in ms, sigma in ms, (x, y, z) in mV)."""
    centre_ms, sigma_ms, dipole_mv = zip(*rows, strict=True)
    return Waves(np.array(centre_ms) / 1e3, np.array(sigma_ms) / 1e3, np.array(dipole_mv, float))


def joined(*waves: Waves) -> Waves:
    return Waves(*(np.concatenate(parts) for parts in zip(*waves, strict=True)))


# Right atrium, then left atrium: from the begin of the P wave, 110 ms long.
ATRIA, ATRIA_S = pieces((38, 19, (0.03, 0.085, -0.04)), (74, 17, (0.045, 0.055, 0.03))), 0.110
# Septum, apex, free wall of the left ventricle, its back, base: from the begin of the QRS complex, 92 ms long.
VENTRICLES, VENTRICLES_S = (
    pieces(
        (16, 7.5, (-0.09, -0.03, -0.10)),
        (28, 8, (0.16, 0.05, -0.17)),
        (41, 8, (1.08, 0.50, 0.30)),
        (54, 8, (0.06, 0.12, 0.48)),
        (68, 9, (-0.13, -0.03, 0.16)),
    ),
    0.092,
)
# ST segment, then the two slopes of the T wave: from the begin of the QRS complex, for QT = 400 ms.
RECOVERY, RECOVERY_QT_S, RECOVERY_BEGIN_S = (
    pieces((147, 56, (-0.02, -0.02, -0.04)), (267, 46, (0.16, 0.06, -0.18)), (322, 33, (0.21, 0.13, -0.08))),
    0.400,
    0.190,
)


@dataclasses.dataclass(frozen=True)
class Heart:
    """The electrical heart of one patient at one visit."""

    atria: Waves
    """P wave, from its begin."""
    ectopic_atria: Waves
    """P wave of a premature atrial beat, from its begin."""
    atria_s: float
    """Duration of the P wave."""
    ventricles: Waves
    """QRS complex, from its begin."""
    ventricles_s: float
    """Duration of the QRS complex."""
    recovery: Waves
    """ST segment and T wave, from the begin of the QRS complex, at a QT of 400 ms."""
    ectopic_ventricles: Waves
    """Premature ventricular complex, from its begin."""
    ectopic_ventricles_s: float
    """Duration of its QRS complex."""
    ectopic_recovery: Waves
    """Its ST segment and T wave, at a QT of 400 ms."""
    qtc_s: float
    """QT interval at a heart rate of 60 a minute."""


def qt_interval_s(qtc_s: float, rr_s: np.ndarray) -> np.ndarray:
    """QT by Fridericia, from an RR that forgets slowly: QT follows the rate, not the single beat."""
    steady_s = 0.8 * np.median(rr_s) + 0.2 * rr_s
    return qtc_s * np.cbrt(steady_s)


def waves_of(beats: Beats, heart: Heart) -> tuple[Waves, list[Span]]:
    """All waves of a recording, and where each begins and ends; times in seconds from the first sample."""
    wide, has_p, ectopic_p = beats.kind == VENTRICULAR, np.isfinite(beats.pr_s), beats.kind == ATRIAL
    begin_s, p_s = beats.onset_s, beats.onset_s - beats.pr_s
    qrs_s = np.where(wide, heart.ectopic_ventricles_s, heart.ventricles_s)
    # A wide complex ends later, and so does its T wave.
    qt_s = qt_interval_s(heart.qtc_s, beats.rr_s) + qrs_s - heart.ventricles_s
    stretch = qt_s / RECOVERY_QT_S
    waves = [
        _repeated(heart.ventricles, begin_s[~wide]),
        _repeated(heart.ectopic_ventricles, begin_s[wide]),
        _repeated(heart.recovery, begin_s[~wide], stretch[~wide]),
        _repeated(heart.ectopic_recovery, begin_s[wide], stretch[wide]),
        _repeated(heart.atria, p_s[has_p & ~ectopic_p]),
        _repeated(heart.ectopic_atria, p_s[has_p & ectopic_p]),
    ]
    # In the order of painting: where a P wave falls on a T wave, the mark is P.
    spans = [
        Span(T_WAVE, begin_s + np.maximum(RECOVERY_BEGIN_S * stretch, qrs_s), begin_s + qt_s),
        Span(P_WAVE, p_s[has_p], np.minimum(p_s + heart.atria_s, begin_s)[has_p]),
        Span(QRS_COMPLEX, begin_s, begin_s + qrs_s),
    ]
    return Waves(*(np.concatenate(parts) for parts in zip(*waves, strict=True))), spans


def _repeated(waves: Waves, at_s: np.ndarray, stretch: np.ndarray | float = 1.0) -> Waves:
    """The waves once for each of the times [beat], each time stretched by its own factor."""
    stretch = np.broadcast_to(stretch, at_s.shape)[:, None]
    centre_s = at_s[:, None] + stretch * waves.centre_s
    return Waves(centre_s.ravel(), (stretch * waves.sigma_s).ravel(), np.tile(waves.dipole_mv, (at_s.size, 1)))


def evaluate(waves: Waves, *, samples: int, rate_hz: float) -> np.ndarray:
    """The dipole in mV, [time, 3]. Each piece is evaluated within five sigma of its centre only."""
    reach = int(np.ceil(5 * waves.sigma_s.max() * rate_hz))
    place = np.rint(waves.centre_s * rate_hz).astype(int)[:, None] + np.arange(-reach, reach + 1)
    height = np.exp(-0.5 * ((place / rate_hz - waves.centre_s[:, None]) / waves.sigma_s[:, None]) ** 2)
    inside = (place >= 0) & (place < samples)
    piece = np.broadcast_to(np.arange(len(place))[:, None], place.shape)[inside]
    place, height = place[inside], height[inside]
    axes = (np.bincount(place, height * axis[piece], samples) for axis in waves.dipole_mv.T)
    return np.stack(list(axes), axis=1)


def marked(spans: list[Span], time_s: np.ndarray) -> np.ndarray:
    """uint8 [time]: P_WAVE, QRS_COMPLEX, T_WAVE, or 0."""
    marks = np.zeros(time_s.size, np.uint8)
    for mark, begin_s, end_s in spans:
        for first, last in zip(*np.searchsorted(time_s, (begin_s, end_s)), strict=True):
            marks[first:last] = mark
    return marks


def fibrillatory(rng, time_s: np.ndarray, *, amplitude_mv: float) -> np.ndarray:
    """f-waves: three wavelets of 4.5 to 8 Hz that drift in rate and size, largest in V1; [time, 3] in mV.

    A fundamental with a harmonic, modulated in amplitude and frequency: Stridh & Sornmo 2001 (doi:10.1109/10.900253).
    """
    total = np.zeros((time_s.size, 3), np.float32)
    for _ in range(3):
        rate_hz, drift, swell = rng.uniform(4.5, 8), rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.6)
        phase, start, begin = rng.uniform(0, 2 * np.pi, 3)
        turn = 2 * np.pi * rate_hz * time_s + phase + 1.2 * np.sin(2 * np.pi * drift * time_s + start)
        size = 1 + 0.6 * np.sin(2 * np.pi * swell * time_s + begin)
        direction = np.array([-0.25, 0.4, -0.75]) + 0.25 * rng.standard_normal(3)
        total += np.outer(size * (np.sin(turn) + 0.35 * np.sin(2 * turn)), direction / 3)
    return amplitude_mv * total


def fluttering(time_s: np.ndarray, *, cycle_s: float, phase_s: float, amplitude_mv: float) -> np.ndarray:
    """Saw-tooth of typical flutter: slow fall and quick rise in II, III, aVF, upright waves in V1; [time, 3] in mV."""
    # Four harmonics: the isthmus and the atrial wall round the saw's teeth.
    turn = 2 * np.pi * (time_s - phase_s)[:, None] / cycle_s * np.arange(1, 5)
    saw = np.sin(turn) @ np.array([1, 0.45, 0.22, 0.1])
    upright = np.cos(turn) @ np.array([1, 0.5, 0.2, 0.1])
    return amplitude_mv * (np.outer(saw, [0.0, 0.6, 0.1]) + np.outer(upright, [-0.1, 0.0, -0.3]))
