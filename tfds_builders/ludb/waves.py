"""From the marks that cardiologists set in each lead to the wave of every sample."""

from collections.abc import Sequence

import numpy as np

from ecgjax.signals import UNMARKED, WAVES
from tfds_builders.formats.wfdb_annotations import END, NORMAL, ONSET, P_PEAK, T_PEAK, Annotation

_WAVE_OF_PEAK = {P_PEAK: WAVES.index("P"), NORMAL: WAVES.index("QRS"), T_PEAK: WAVES.index("T")}


def of_lead(annotations: Sequence[Annotation], samples: int) -> np.ndarray:
    """uint8 [samples]: the number in `WAVES`, from the first complete wave to the last; `UNMARKED` around them.

    A complete wave is onset, peak and end one after the other; both ends belong to it.
    """
    marks = np.full(samples, UNMARKED, np.uint8)
    triples = zip(annotations, annotations[1:], annotations[2:], strict=False)
    complete = [(a.sample, b.code, c.sample) for a, b, c in triples if _is_wave(a, b, c)]
    if not complete:
        return marks
    marks[complete[0][0] : complete[-1][2] + 1] = 0
    for onset, peak, end in complete:
        marks[onset : end + 1] = _WAVE_OF_PEAK[peak]
    return marks


def _is_wave(onset: Annotation, peak: Annotation, end: Annotation) -> bool:
    return (onset.code, end.code) == (ONSET, END) and peak.code in _WAVE_OF_PEAK


def of_most(leads: np.ndarray) -> np.ndarray:
    """uint8 [time] of marks [time, lead]: what most of the marked leads say; `UNMARKED` where fewer than half are.

    Of equally many the first in `WAVES` is taken, none before a wave.
    """
    votes = np.stack([(leads == wave).sum(axis=1) for wave in range(len(WAVES))])
    enough = 2 * (leads != UNMARKED).sum(axis=1) >= leads.shape[1]
    return np.where(enough, votes.argmax(axis=0), UNMARKED).astype(np.uint8)
