"""Findings that are no target of a task, but resemble the targets.

Left ventricular hypertrophy has the poor R waves of an anterior infarct and the T waves of a
lateral one. Left anterior fascicular block has the Q waves of a high lateral infarct and the axis
of an inferior one. Right bundle branch block is as wide as a ventricular beat. Flat and inverted T
waves without a cause are common. Without these findings, infarcts and ventricular beats would be
easier to detect than in real recordings. Criteria: Surawicz et al. 2009
(doi:10.1016/j.jacc.2008.12.013).
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import joined, pieces
from tfds_builders.synthetic.heart import Heart


def hypertrophic(heart: Heart, degree: float) -> Heart:
    """Adds large forces to the left and back, and an opposite ST segment and T wave (strain)."""
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
    """Turns early QRS forces down and right, late ones up and left: axis beyond -45 degrees."""
    phase = heart.ventricles.centre_s / heart.ventricles_s
    turn = np.outer(phase < 0.25, [-0.10, 0.40, 0.0]) + np.outer(phase > 0.4, [0.1, -1.1, 0.1])
    size = np.linalg.norm(heart.ventricles.dipole_mv, axis=1, keepdims=True)
    turned = heart.ventricles.dipole_mv + (0.6 + 0.4 * degree) * size.clip(min=0.25) * turn
    turned *= size / np.linalg.norm(turned, axis=1, keepdims=True)
    return dataclasses.replace(heart, ventricles=heart.ventricles._replace(dipole_mv=turned))


def right_bundle_block(heart: Heart, degree: float) -> Heart:
    """Adds late forces of the right ventricle to the right and front.

    The QRS complex lasts over 120 ms, with rSR' in V1 and wide S waves in I and V6.
    """
    right = (0.45 + 0.35 * degree) * np.array([-0.75, -0.05, -0.65])
    end_ms = 1e3 * heart.ventricles_s
    late = pieces((end_ms - 6, 12, 0.6 * right), (end_ms + 20, 12, 0.7 * right))
    return dataclasses.replace(
        heart,
        ventricles=joined(heart.ventricles, late),
        ventricles_s=heart.ventricles_s + 0.048,
        recovery=joined(heart.recovery, pieces((290, 45, -0.25 * right))),
    )


def flat_t(heart: Heart, degree: float) -> Heart:
    """Flattens the T wave, or inverts it for a degree near 1."""
    factor = np.where(heart.recovery.centre_s > 0.2, 0.45 - 0.9 * degree, 1.0)
    dipole_mv = heart.recovery.dipole_mv * factor[:, None]
    return dataclasses.replace(heart, recovery=heart.recovery._replace(dipole_mv=dipole_mv))


VARIANTS = {
    "LVH": hypertrophic,
    "LAFB": left_anterior_block,
    "CRBBB": right_bundle_block,
    "NDT": flat_t,
}
"""Function that changes a heart by a finding of degree 0.3 to 1, by SCP-ECG statement."""
