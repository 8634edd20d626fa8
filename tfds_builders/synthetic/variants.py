"""Findings that no task asks for and that look like those the tasks do ask for.

Left ventricular hypertrophy has the poor R waves of an anterior infarct and the T waves of a lateral one;
left anterior fascicular block has the Q waves of a high lateral one and the axis of an inferior one; right
bundle branch block is as wide as a ventricular beat; flat and inverted T waves without a cause are common.
Without them infarcts and ventricular beats would be easier to find than they are in real recordings.
Criteria: Surawicz et al. 2009 (doi:10.1016/j.jacc.2008.12.013).
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import joined, pieces
from tfds_builders.synthetic.heart import Heart


def hypertrophic(heart: Heart, degree: float) -> Heart:
    """Large forces to the left and back; ST segment and T wave against them (strain)."""
    towards = np.array([0.75, 0.15, 0.65])
    late = heart.ventricles.centre_s > 0.3 * heart.ventricles_s
    growth = (0.2 + degree) * late * (heart.ventricles.dipole_mv @ towards).clip(min=0)
    strain = pieces((180, 55, -0.10 * degree * towards), (300, 42, -0.35 * degree * towards))
    return dataclasses.replace(
        heart,
        ventricles=heart.ventricles._replace(
            dipole_mv=heart.ventricles.dipole_mv + np.outer(growth, towards)
        ),
        recovery=joined(heart.recovery, strain),
    )


def left_anterior_block(heart: Heart, degree: float) -> Heart:
    """Activation begins down and to the right and ends up and to the left: axis at -45 degrees or beyond."""
    phase = heart.ventricles.centre_s / heart.ventricles_s
    turn = np.outer(phase < 0.25, [-0.10, 0.40, 0.0]) + np.outer(phase > 0.4, [0.1, -1.1, 0.1])
    size = np.linalg.norm(heart.ventricles.dipole_mv, axis=1, keepdims=True)
    turned = heart.ventricles.dipole_mv + (0.6 + 0.4 * degree) * size.clip(min=0.25) * turn
    turned *= size / np.linalg.norm(turned, axis=1, keepdims=True)
    return dataclasses.replace(heart, ventricles=heart.ventricles._replace(dipole_mv=turned))


def right_bundle_block(heart: Heart, degree: float) -> Heart:
    """The right ventricle comes last, to the right and front: over 120 ms, rSR' in V1, wide S in I and V6."""
    right, end_ms = (
        (0.45 + 0.35 * degree) * np.array([-0.75, -0.05, -0.65]),
        1e3 * heart.ventricles_s,
    )
    late = pieces((end_ms - 6, 12, 0.6 * right), (end_ms + 20, 12, 0.7 * right))
    return dataclasses.replace(
        heart,
        ventricles=joined(heart.ventricles, late),
        ventricles_s=heart.ventricles_s + 0.048,
        recovery=joined(heart.recovery, pieces((290, 45, -0.25 * right))),
    )


def flat_t(heart: Heart, degree: float) -> Heart:
    """T waves that are flat, or inverted for a degree near 1."""
    keep = np.where(heart.recovery.centre_s > 0.2, 0.45 - 0.9 * degree, 1.0)
    return dataclasses.replace(
        heart, recovery=heart.recovery._replace(dipole_mv=heart.recovery.dipole_mv * keep[:, None])
    )


VARIANTS = {
    "LVH": hypertrophic,
    "LAFB": left_anterior_block,
    "CRBBB": right_bundle_block,
    "NDT": flat_t,
}
"""SCP-ECG statement of each finding, and what it does to a heart, to a degree of 0.3 to 1."""
