"""When the heart beats: sinus rhythm, atrial fibrillation, atrial flutter, and premature beats.

A rhythm is a list of beats around the recording, a little longer than it on both sides, so that the first P
wave and the last T wave are those of a longer recording.
"""

import dataclasses

import numpy as np

SECONDS = 10.0
"""Length of a recording, that of a resting 12-lead ECG."""
LEAD_IN_S, LEAD_OUT_S = 3.0, 1.5

CONDUCTED, ATRIAL, VENTRICULAR = 0, 1, 2
"""Kinds of beat: conducted from the prevailing rhythm, premature atrial, premature ventricular."""

REFRACTORY_S = 0.36
"""The ventricles do not beat again before."""


@dataclasses.dataclass(frozen=True)
class Beats:
    """The beats of one recording, in order; times in seconds from its first sample."""

    onset_s: np.ndarray
    """[beat] Begin of the QRS complex."""
    kind: np.ndarray
    """[beat] CONDUCTED, ATRIAL or VENTRICULAR."""
    pr_s: np.ndarray
    """[beat] From the begin of the P wave to that of the QRS complex; NaN where there is no P wave."""

    @property
    def rr_s(self) -> np.ndarray:
        """[beat] RR interval that ends with the beat; the first beat takes over the second's."""
        rr_s = np.diff(self.onset_s)
        return np.concatenate([rr_s[:1], rr_s])

    @property
    def readable(self) -> np.ndarray:
        """[beat] True where the recording holds the QRS complex and what precedes it."""
        return (self.onset_s > 0.3) & (self.onset_s < SECONDS - 0.2)


def sinus(rng, *, rate_bpm: float, breathing: float, breath_hz: float, pr_s: float) -> Beats:
    """Sinus rhythm: RR follows breathing, blood pressure waves of 0.1 Hz, and chance.

    Args:
      rng: NumPy generator.
      rate_bpm: mean heart rate, in beats a minute.
      breathing: relative amplitude of the respiratory sinus arrhythmia.
      breath_hz: breaths a second.
      pr_s: PR interval in seconds.
    """
    mean_s = 60 / rate_bpm
    cycle_s = mean_s * np.arange(int((SECONDS + LEAD_IN_S + LEAD_OUT_S) / mean_s) + 2)
    breath, pressure = rng.uniform(0, 2 * np.pi, 2)
    relative = breathing * np.sin(2 * np.pi * breath_hz * cycle_s + breath)
    relative += 0.01 * np.sin(2 * np.pi * 0.1 * cycle_s + pressure) + 0.006 * rng.standard_normal(
        cycle_s.size
    )
    onset_s = rng.uniform(0, mean_s) - LEAD_IN_S + np.cumsum(mean_s * (1 + relative))
    return _conducted(onset_s, pr_s=pr_s + 0.002 * rng.standard_normal(onset_s.size))


def fibrillation(rng, *, rate_bpm: float) -> Beats:
    """Atrial fibrillation: independent RR intervals, gamma distributed over a shortest one, no P waves.

    The coefficient of variation is that of Tateno & Glass 2001 (doi:10.1007/BF02345439), about 0.24.
    """
    mean_s, shortest_s = 60 / rate_bpm, 0.28
    shape = ((mean_s - shortest_s) / (mean_s * rng.uniform(0.18, 0.29))) ** 2
    count = int(1.5 * (SECONDS + LEAD_IN_S + LEAD_OUT_S) / mean_s) + 8
    rr_s = shortest_s + rng.gamma(shape, (mean_s - shortest_s) / shape, count)
    return _conducted(np.cumsum(rr_s) - LEAD_IN_S, pr_s=np.nan)


def flutter(rng, *, cycle_s: float, conduction: tuple[int, ...]) -> Beats:
    """Atrial flutter: every second to fourth flutter wave is conducted, so RR is a multiple of the cycle.

    Args:
      rng: NumPy generator.
      cycle_s: flutter cycle in seconds.
      conduction: ratios that occur; one = regular block, several = variable block.
    """
    count = int((SECONDS + LEAD_IN_S + LEAD_OUT_S) / (min(conduction) * cycle_s)) + 2
    return _conducted(np.cumsum(rng.choice(conduction, count)) * cycle_s - LEAD_IN_S, pr_s=np.nan)


def _conducted(onset_s: np.ndarray, *, pr_s: np.ndarray | float) -> Beats:
    kept = onset_s < SECONDS + LEAD_OUT_S
    pr_s = np.array(np.broadcast_to(pr_s, onset_s.shape)[kept])
    return Beats(onset_s[kept], np.full(kept.sum(), CONDUCTED), pr_s)


def premature(rng, beats: Beats, *, kind: int, coupling: float, every: int | None = None) -> Beats:
    """Makes some conducted beats premature, at least one of them inside the recording.

    A ventricular beat does not reach the sinus node: the next sinus beat comes when it would have come, so
    the two intervals around the premature beat make two cycles (compensatory pause). An atrial beat resets
    the node: the next one follows after a little more than one cycle, and what comes later is shifted.

    Args:
      rng: NumPy generator.
      beats: the rhythm so far.
      kind: ATRIAL or VENTRICULAR.
      coupling: interval from the preceding beat as a share of the cycle, below 1.
      every: None for single premature beats; 2 = bigeminy, 3 = trigeminy.
    """
    onset_s, kinds, pr_s = beats.onset_s.copy(), beats.kind.copy(), beats.pr_s.copy()
    for beat in _chosen(rng, beats, every):
        cycle_s = onset_s[beat] - onset_s[beat - 1]
        after_s = max(cycle_s * (coupling + 0.015 * rng.standard_normal()), REFRACTORY_S)
        kinds[beat], onset_s[beat] = kind, onset_s[beat - 1] + after_s
        if kind == ATRIAL:
            onset_s[beat + 1 :] += (
                onset_s[beat] + cycle_s * rng.uniform(1.05, 1.2) - onset_s[beat + 1]
            )
            # Never inside the QRS complex of the beat before, however long PR is.
            pr_s[beat] = min(pr_s[beat] + rng.uniform(-0.02, 0.005), after_s - 0.15)
        else:
            pr_s[beat] = np.nan
    return Beats(onset_s, kinds, pr_s)


def _chosen(rng, beats: Beats, every: int | None) -> np.ndarray:
    """Conducted beats well inside the recording whose neighbours are conducted; single ones keep apart."""
    conducted = beats.kind == CONDUCTED
    free = conducted & np.roll(conducted, 1) & np.roll(conducted, -1)
    candidates = np.flatnonzero(free & (beats.onset_s > 1.0) & (beats.onset_s < SECONDS - 1.5))
    if every is not None:
        return candidates[rng.integers(every) :: every]
    wanted, chosen = 1 + rng.poisson(0.8), []
    for beat in rng.permutation(candidates):
        if len(chosen) < wanted and all(abs(beat - other) > 2 for other in chosen):
            chosen.append(beat)
    return np.sort(np.array(chosen, int))
