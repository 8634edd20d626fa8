"""One patient's heart: atria, ventricles, their repolarisation, and ectopic beats.

The normal beat was fitted by least squares to the median normal beat of 284 recordings of PTB-XL
(doi:10.1038/s41597-020-0495-6), transformed by the inverse of Dower's matrix, with a residual below
0.02 mV. A median over patients is too flat; therefore the beat was enlarged by a quarter to a
third, until the simulated leads had the median amplitudes of PTB-XL. The spread between patients
was set to PTB-XL's quantiles in the same way.
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import (
    P_WAVE,
    QRS_COMPLEX,
    T_WAVE,
    Span,
    Waves,
    joined,
    pieces,
    rotation,
)
from tfds_builders.synthetic.rhythm import ATRIAL, VENTRICULAR, Beats

ATRIA_S = 0.110
ATRIA = pieces(
    (38, 19, (0.030, 0.085, -0.040)),  # right atrium
    (74, 17, (0.045, 0.055, 0.030)),  # left atrium
)
"""Normal P wave; times from its begin."""

VENTRICLES_S = 0.092
VENTRICLES = pieces(
    (16, 7.5, (-0.09, -0.03, -0.10)),  # septum
    (28, 8, (0.16, 0.05, -0.17)),  # apex
    (41, 8, (1.08, 0.50, 0.30)),  # free wall of the left ventricle
    (54, 8, (0.06, 0.12, 0.48)),  # its back
    (68, 9, (-0.13, -0.03, 0.16)),  # base
)
"""Normal QRS complex; times from its begin."""

QT_S = 0.400
T_BEGIN_S = 0.190
RECOVERY = pieces(
    (147, 56, (-0.02, -0.02, -0.04)),  # ST segment
    (267, 46, (0.16, 0.06, -0.18)),  # rise of the T wave
    (322, 33, (0.21, 0.13, -0.08)),  # its steeper fall
)
"""Normal ST segment and T wave; times from the begin of the QRS complex, at a QT of 400 ms."""

ORIGINS = (
    (0.35, 0.85, 0.40),  # right ventricular outflow tract: inferior axis, negative V1
    (-0.10, 0.90, -0.45),  # left ventricular outflow tract: inferior axis, positive V1
    (0.10, -0.75, -0.65),  # back of the left ventricle: superior axis, positive V1
    (0.75, -0.55, 0.40),  # apex of the right ventricle: superior axis, negative V1
    (-0.70, 0.30, -0.65),  # side of the left ventricle: negative I, positive V1
)
"""Main direction (left, down, back) of ventricular beats, one for each site of origin."""


@dataclasses.dataclass(frozen=True)
class Heart:
    """The electrical heart of one patient at one visit."""

    atria: Waves
    """P wave; times from its begin."""
    ectopic_atria: Waves
    """P wave of a premature atrial beat; times from its begin."""
    atria_s: float
    """Duration of the P wave."""
    ventricles: Waves
    """QRS complex; times from its begin."""
    ventricles_s: float
    """Duration of the QRS complex."""
    recovery: Waves
    """ST segment and T wave; times from the begin of the QRS complex, at a QT of 400 ms."""
    ectopic_ventricles: Waves
    """QRS complex of a premature ventricular beat; times from its begin."""
    ectopic_ventricles_s: float
    """Duration of the QRS complex of a premature ventricular beat."""
    ectopic_recovery: Waves
    """ST segment and T wave of a premature ventricular beat, at a QT of 400 ms."""
    qtc_s: float
    """QT interval at 60 beats per minute."""


def draw_heart(rng: np.random.Generator, *, female: bool, ageing: float) -> Heart:
    """Draws a normal heart with intervals as in Rautaharju et al. 2009.

    doi:10.1016/j.jacc.2008.12.014

    Args:
      rng: random generator.
      female: True for smaller amplitudes, a shorter QRS complex and a longer QT interval.
      ageing: age above 50, in decades. Each decade makes the P wave longer and the T wave smaller,
        and turns the axis to the left by 4 degrees.
    """
    atria_s = float(np.clip(rng.normal(0.106 + 0.003 * ageing, 0.010), 0.080, 0.130))
    ventricles_s = float(np.clip(rng.normal(0.090 if female else 0.096, 0.009), 0.074, 0.118))
    size = 1.25 * rng.lognormal(0, 0.22) * (0.9 if female else 1.0)
    axis = rotation(np.deg2rad(rng.normal([0, 0, -4 * ageing], [10, 12, 14])))
    atria = ATRIA.scaled(time=atria_s / ATRIA_S, size=rng.lognormal(0, 0.22))
    ventricles = VENTRICLES.scaled(time=ventricles_s / VENTRICLES_S, size=size).turned(axis)
    recovery = RECOVERY.scaled(size=rng.lognormal(-0.05 * ageing, 0.3))
    elsewhere = rotation(rng.uniform(-1, 1, 3) * np.deg2rad([110, 80, 110]))
    ectopic_ventricles, ectopic_recovery, ectopic_s = _draw_ectopic(rng, size)
    return Heart(
        atria=atria.jittered(rng, 0.2),
        ectopic_atria=atria.turned(elsewhere).jittered(rng, 0.2),
        atria_s=atria_s,
        ventricles=ventricles.jittered(rng, 0.18),
        ventricles_s=ventricles_s,
        recovery=recovery.turned(rotation(rng.normal(0, np.deg2rad(10), 3))).jittered(rng, 0.2),
        ectopic_ventricles=ectopic_ventricles,
        ectopic_ventricles_s=ectopic_s,
        ectopic_recovery=ectopic_recovery,
        qtc_s=float(np.clip(rng.normal(0.412 if female else 0.400, 0.018), 0.360, 0.460)),
    )


def _draw_ectopic(rng: np.random.Generator, size: float) -> tuple[Waves, Waves, float]:
    """Draws (QRS complex, ST segment and T wave, QRS duration in s) of a ventricular beat.

    The activation spreads through muscle, which takes 130 to 175 ms. The T wave is discordant.
    """
    duration_s = rng.uniform(0.130, 0.175)
    main = _unit(np.array(ORIGINS[rng.integers(len(ORIGINS))]) + 0.2 * rng.standard_normal(3))
    begin = _unit(main + 0.6 * rng.standard_normal(3))
    end = _unit(main + 0.6 * rng.standard_normal(3))
    peak_mv = rng.uniform(0.8, 1.5) * size
    qrs = pieces(
        (38, 15, 0.45 * peak_mv * begin), (72, 19, peak_mv * main), (108, 17, 0.5 * peak_mv * end)
    )
    t_mv = rng.uniform(0.3, 0.45) * peak_mv
    recovery = pieces(
        (150, 45, -0.35 * t_mv * main),
        (235, 48, -0.8 * t_mv * main),
        (290, 36, -0.55 * t_mv * main),
    )
    return qrs.scaled(time=duration_s / 0.150), recovery, duration_s


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def drifted(rng: np.random.Generator, heart: Heart) -> Heart:
    """Returns the heart months later.

    Amplitudes change by a few per cent and QT by a few ms; T waves change most.
    """
    ventricles = heart.ventricles.scaled(size=rng.lognormal(0, 0.06))
    recovery = heart.recovery.scaled(size=rng.lognormal(0, 0.15))
    return dataclasses.replace(
        heart,
        atria=heart.atria.jittered(rng, 0.1),
        ventricles=ventricles.jittered(rng, 0.04),
        recovery=recovery.jittered(rng, 0.08),
        qtc_s=heart.qtc_s + rng.normal(0, 0.006),
    )


def beating(heart: Heart, beats: Beats) -> tuple[Waves, list[Span]]:
    """Returns all waves of a recording, and their spans; times in seconds from the first sample."""
    wide = beats.kind == VENTRICULAR
    has_p = np.isfinite(beats.pr_s)
    ectopic_p = beats.kind == ATRIAL
    begin_s = beats.onset_s
    p_s = beats.onset_s - beats.pr_s
    qrs_s = np.where(wide, heart.ectopic_ventricles_s, heart.ventricles_s)
    # A wide complex ends later, and so does its T wave.
    qt_s = _qt_s(heart.qtc_s, beats.rr_s) + qrs_s - heart.ventricles_s
    stretch = qt_s / QT_S
    waves = joined(
        heart.ventricles.repeated(begin_s[~wide]),
        heart.ectopic_ventricles.repeated(begin_s[wide]),
        heart.recovery.repeated(begin_s[~wide], stretch[~wide]),
        heart.ectopic_recovery.repeated(begin_s[wide], stretch[wide]),
        heart.atria.repeated(p_s[has_p & ~ectopic_p]),
        heart.ectopic_atria.repeated(p_s[has_p & ectopic_p]),
    )
    spans = [
        Span(T_WAVE, begin_s + np.maximum(T_BEGIN_S * stretch, qrs_s), begin_s + qt_s),
        Span(P_WAVE, p_s[has_p], np.minimum(p_s + heart.atria_s, begin_s)[has_p]),
        Span(QRS_COMPLEX, begin_s, begin_s + qrs_s),
    ]
    return waves, spans


def _qt_s(qtc_s: float, rr_s: np.ndarray) -> np.ndarray:
    """Returns QT by Fridericia's formula (RR to the power 1/3).

    QT adapts to the heart rate, so that a single RR interval has little influence.
    """
    return qtc_s * np.cbrt(0.8 * np.median(rr_s) + 0.2 * rr_s)
