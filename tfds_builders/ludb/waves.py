"""The wave of each sample, from the annotations that cardiologists set in each lead."""

from collections.abc import Sequence

import numpy as np

from ecgjax.signals import UNMARKED, WAVES
from tfds_builders.formats.wfdb_annotations import END, NORMAL, ONSET, P_PEAK, T_PEAK, Annotation

_WAVE_BY_PEAK = {P_PEAK: WAVES.index("P"), NORMAL: WAVES.index("QRS"), T_PEAK: WAVES.index("T")}


def label_lead(annotations: Sequence[Annotation], samples: int) -> np.ndarray:
    """Returns uint8 [samples]: the index in `WAVES` of each sample of a lead.

    Samples before the first and after the last complete wave are `UNMARKED`. A complete wave has
    onset, peak and end in this order; onset and end belong to it.
    """
    labels = np.full(samples, UNMARKED, np.uint8)
    triples = zip(annotations, annotations[1:], annotations[2:], strict=False)
    complete = [(a.sample, b.code, c.sample) for a, b, c in triples if _is_wave(a, b, c)]
    if not complete:
        return labels
    labels[complete[0][0] : complete[-1][2] + 1] = 0
    for onset, peak, end in complete:
        labels[onset : end + 1] = _WAVE_BY_PEAK[peak]
    return labels


def _is_wave(onset: Annotation, peak: Annotation, end: Annotation) -> bool:
    return (onset.code, end.code) == (ONSET, END) and peak.code in _WAVE_BY_PEAK


def majority(leads: np.ndarray) -> np.ndarray:
    """Returns uint8 [time]: the most frequent label among the marked leads of labels [time, lead].

    A sample at which fewer than half of the leads are marked is `UNMARKED`. In a tie the first wave
    in the order of `WAVES` is taken, and "none" comes before any wave.
    """
    votes = np.stack([(leads == wave).sum(axis=1) for wave in range(len(WAVES))])
    enough = 2 * (leads != UNMARKED).sum(axis=1) >= leads.shape[1]
    return np.where(enough, votes.argmax(axis=0), UNMARKED).astype(np.uint8)
