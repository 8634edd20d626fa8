"""Findings that no task asks for and that look like those the tasks do ask for.

Left ventricular hypertrophy has the poor R waves of an anterior infarct and the T waves of a lateral one; left anterior
fascicular block has the Q waves of a high lateral one; right bundle branch block is as wide as a ventricular beat;
flat and inverted T waves without a cause are common. Without them an infarct would be too easy.
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import Heart, Waves, joined, pieces


def hypertrophic(heart: Heart, *, degree: float) -> Heart:
    """LVH: large forces to the left and back, ST segment and T wave against them (strain). `degree` up to 1."""
    towards = np.array([0.75, 0.15, 0.65])
    late = heart.ventricles.centre_s > 0.3 * heart.ventricles_s
    growth = (late * (heart.ventricles.dipole_mv @ towards).clip(min=0) * (0.2 + degree))[:, None]
    return dataclasses.replace(
        heart,
        ventricles=heart.ventricles._replace(dipole_mv=heart.ventricles.dipole_mv + growth * towards),
        recovery=joined(heart.recovery, pieces((180, 55, -0.10 * degree * towards), (300, 42, -0.35 * degree * towards))),
    )


def left_anterior_block(heart: Heart, *, degree: float) -> Heart:
    """LAFB: activation begins down and right and ends up and left; the axis is at -45 degrees or beyond."""
    phase = heart.ventricles.centre_s / heart.ventricles_s
    turn = np.array([-0.10, 0.40, 0.0]) * (phase < 0.25)[:, None] + np.array([0.1, -1.1, 0.1]) * (phase > 0.4)[:, None]
    size = np.linalg.norm(heart.ventricles.dipole_mv, axis=1, keepdims=True).clip(min=0.25)
    dipole_mv = heart.ventricles.dipole_mv + (0.6 + 0.4 * degree) * size * turn
    dipole_mv *= size / np.linalg.norm(dipole_mv, axis=1, keepdims=True)  # turned, not larger
    return dataclasses.replace(heart, ventricles=heart.ventricles._replace(dipole_mv=dipole_mv))


def right_bundle_block(heart: Heart, *, degree: float) -> Heart:
    """CRBBB: the right ventricle comes last, to the right and front; QRS 120 ms or more, rSR' in V1, wide S in I, V6."""
    delay_ms = 1e3 * heart.ventricles_s
    right = np.array([-0.75, -0.05, -0.65]) * (0.45 + 0.35 * degree)
    end = pieces((delay_ms - 6, 12, 0.6 * right), (delay_ms + 20, 12, 0.7 * right))
    recovery = pieces((290, 45, -0.25 * right))
    return dataclasses.replace(
        heart,
        ventricles=joined(heart.ventricles, end),
        ventricles_s=heart.ventricles_s + 0.045,
        recovery=joined(heart.recovery, recovery),
    )


def flat_t(heart: Heart, *, degree: float) -> Heart:
    """NDT: T waves flat, or with a `degree` near 1 inverted, without a cause."""
    keep = np.where(heart.recovery.centre_s > 0.2, 0.45 - 0.9 * degree, 1.0)
    return dataclasses.replace(heart, recovery=_weighted(heart.recovery, keep))


def _weighted(waves: Waves, weight: np.ndarray) -> Waves:
    return waves._replace(dipole_mv=waves.dipole_mv * weight[:, None])


VARIANTS = {"LVH": hypertrophic, "LAFB": left_anterior_block, "CRBBB": right_bundle_block, "NDT": flat_t}
"""SCP-ECG statement of each finding, and what it does to a heart."""
