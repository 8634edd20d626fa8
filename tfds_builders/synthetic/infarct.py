"""Old and fresh myocardial infarction as a change of the dipole.

Dead muscle does not depolarise: the dipole of the first half of the QRS complex turns away from the wall, and the leads
that look at the wall begin with a Q wave. Injured muscle pulls the ST segment towards the wall, ischaemic muscle turns
the T wave away from it. The leads concerned, and the reciprocal changes in the others, follow from the projection.
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import VENTRICLES_S, Heart, Waves, joined, pieces

TERRITORIES = {
    "IMI": np.array([0.05, 0.97, 0.23]),  # seen by II, III, aVF
    "AMI": np.array([0.30, 0.05, -0.95]),  # seen by V1 to V4
    "LMI": np.array([0.83, -0.42, 0.37]),  # seen by I, aVL, V5, V6
}
"""SCP-ECG statement of each infarct, and the direction from the heart to the dead wall (left, down, back)."""


@dataclasses.dataclass(frozen=True)
class Infarct:
    statement: str
    """IMI, AMI or LMI."""
    q_mv: float
    """Size of the initial dipole away from the wall."""
    extent: float
    """Share of the early forces towards the wall that is lost, 0 to 1."""
    st_mv: float
    """Injury current at this visit: 0.1 to 0.3 mV in the first days, about 0 later."""
    t_mv: float
    """Size of the T wave's dipole away from the wall; half of all old infarcts have none."""
    t_loss: float
    """Share of the T wave's dipole towards the wall that is lost, 0 to 1."""

    @property
    def wall(self) -> np.ndarray:
        return TERRITORIES[self.statement]


def infarcted(heart: Heart, infarct: Infarct) -> Heart:
    """The heart with the infarct's Q wave, ST segment, and T wave."""
    wall = infarct.wall
    stretch = heart.ventricles_s / VENTRICLES_S
    q_wave = pieces((21, 9, -infarct.q_mv * wall)).scaled(time=stretch)
    # Early forces are those of the first 45 ms; the base is activated late and spared.
    early = heart.ventricles.centre_s < 0.045 * stretch
    ventricles = joined(_weakened(heart.ventricles, wall, infarct.extent * early), q_wave)
    injury = pieces((115, 30, infarct.st_mv * wall), (175, 45, 0.9 * infarct.st_mv * wall))
    inversion = pieces((300, 42, -infarct.t_mv * wall))
    spared = _weakened(heart.recovery, wall, np.full(len(heart.recovery.centre_s), infarct.t_loss))
    recovery = joined(spared, injury, inversion)
    return dataclasses.replace(heart, ventricles=ventricles, recovery=recovery)


def _weakened(waves: Waves, wall: np.ndarray, share: np.ndarray) -> Waves:
    """Takes a share [piece] of each piece's component towards the wall away."""
    towards = np.maximum(waves.dipole_mv @ wall, 0)
    return waves._replace(dipole_mv=waves.dipole_mv - (share * towards)[:, None] * wall)
