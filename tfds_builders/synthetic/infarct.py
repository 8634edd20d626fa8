"""Myocardial infarction as a change of the dipole.

Dead muscle does not depolarise: in the first half of the QRS complex the dipole turns away from the
infarcted wall, and the leads facing the wall begin with a Q wave. Injured muscle pulls the ST
segment towards the wall, ischaemic muscle turns the T wave away from it. The leads with these
changes, and the reciprocal changes in the other leads, follow from the projection: the abnormal
dipoles of Clifford et al. 2010 (doi:10.1088/0967-3334/31/5/001), one for each wall.
"""

import dataclasses

import numpy as np

from tfds_builders.synthetic.dipole import Waves, joined, pieces
from tfds_builders.synthetic.heart import VENTRICLES_S, Heart

WALLS = {
    "IMI": np.array([0.05, 0.97, 0.23]),  # seen by II, III, aVF
    "AMI": np.array([0.30, -0.20, -0.93]),  # seen by V1 to V4
    "LMI": np.array([0.83, -0.42, 0.37]),  # seen by I, aVL, V5, V6
}
"""Direction (left, down, back) from the heart to the infarcted wall, by SCP-ECG statement."""


@dataclasses.dataclass(frozen=True)
class Infarct:
    """A myocardial infarction."""

    statement: str
    """IMI, AMI or LMI."""
    q_mv: float
    """Size of the initial dipole away from the wall."""
    early_loss: float
    """Lost share of the early QRS forces towards the wall, 0 to 1."""
    t_loss: float
    """Lost share of the T wave towards the wall, 0 to 1."""
    t_mv: float
    """Size of the T wave away from the wall."""
    st_mv: float
    """Size of the injury current towards the wall."""

    def fresh(self, rng: np.random.Generator) -> "Infarct":
        """Returns the infarct in its first days, with ST elevation and T waves not yet inverted.

        The ST segment is elevated by 1 to 3 mm in the leads facing the wall.
        """
        return dataclasses.replace(self, st_mv=rng.uniform(0.08, 0.25), t_mv=0.3 * self.t_mv)


def draw_infarct(rng: np.random.Generator) -> Infarct:
    """Draws an old infarct. Half of them have upright T waves again, few have ST elevation."""
    return Infarct(
        statement=str(rng.choice(list(WALLS))),
        q_mv=0.32 * rng.lognormal(0, 0.4),
        early_loss=rng.uniform(0.2, 0.9),
        t_loss=rng.uniform(0, 0.7),
        t_mv=float(rng.choice([0.0, rng.uniform(0.05, 0.25)])),
        st_mv=rng.uniform(0, 0.04),
    )


def infarcted(heart: Heart, infarct: Infarct) -> Heart:
    """Returns the heart with the Q wave, ST segment and T wave of the infarct."""
    wall = WALLS[infarct.statement]
    stretch = heart.ventricles_s / VENTRICLES_S
    # The base is activated after 45 ms, and it is far from these walls: it remains unchanged.
    early = heart.ventricles.centre_s < 0.045 * stretch
    q_wave = pieces((21, 9, -infarct.q_mv * wall)).scaled(time=stretch)
    injury = pieces((115, 30, infarct.st_mv * wall), (175, 45, 0.9 * infarct.st_mv * wall))
    inversion = pieces((300, 42, -infarct.t_mv * wall))
    return dataclasses.replace(
        heart,
        ventricles=joined(_weakened(heart.ventricles, wall, infarct.early_loss * early), q_wave),
        recovery=joined(_weakened(heart.recovery, wall, infarct.t_loss), injury, inversion),
    )


def _weakened(waves: Waves, wall: np.ndarray, share: np.ndarray | float) -> Waves:
    """Removes a share [component] of each component's projection towards the wall."""
    towards = np.maximum(waves.dipole_mv @ wall, 0)
    return waves._replace(dipole_mv=waves.dipole_mv - np.outer(share * towards, wall))
