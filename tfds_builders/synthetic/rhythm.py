"""Times of the beats in sinus rhythm, atrial fibrillation and flutter, and premature beats.

A rhythm begins before the recording and ends after it, so that the first P wave and the last T wave
are those of a longer recording.
"""

import dataclasses

import numpy as np

SECONDS = 10.0
"""Length of a recording, that of a resting 12-lead ECG."""
LEAD_IN_S = 3.0
LEAD_OUT_S = 1.5

CONDUCTED = 0
"""Kind of a beat that is conducted from the prevailing rhythm."""
ATRIAL = 1
"""Kind of a premature atrial beat."""
VENTRICULAR = 2
"""Kind of a premature ventricular beat."""

REFRACTORY_S = 0.36
"""Shortest interval between two beats of the ventricles."""


@dataclasses.dataclass(frozen=True)
class Beats:
    """The beats of one recording, in order; times in seconds from its first sample."""

    onset_s: np.ndarray
    """Begin of the QRS complex, [beat]."""
    kind: np.ndarray
    """CONDUCTED, ATRIAL or VENTRICULAR, [beat]."""
    pr_s: np.ndarray
    """Interval from the begin of the P wave to the QRS complex, [beat]; NaN without P wave."""

    @property
    def rr_s(self) -> np.ndarray:
        """RR interval before each beat, [beat]; the first beat has that of the second."""
        rr_s = np.diff(self.onset_s)
        return np.concatenate([rr_s[:1], rr_s])

    @property
    def readable(self) -> np.ndarray:
        """Mask [beat] of the beats whose P wave and QRS complex are inside the recording."""
        return (self.onset_s > 0.3) & (self.onset_s < SECONDS - 0.2)


def sinus(
    rng: np.random.Generator,
    *,
    rate_bpm: float,
    breathing: float,
    breath_hz: float,
    pr_s: float,
) -> Beats:
    """Simulates sinus rhythm: RR varies with breathing, blood pressure (0.1 Hz) and at random.

    Args:
      rng: random generator.
      rate_bpm: mean heart rate, in beats per minute.
      breathing: relative amplitude of the respiratory sinus arrhythmia.
      breath_hz: breaths per second.
      pr_s: PR interval in seconds.
    """
    mean_s = 60 / rate_bpm
    cycle_s = mean_s * np.arange(int((SECONDS + LEAD_IN_S + LEAD_OUT_S) / mean_s) + 2)
    breath, pressure = rng.uniform(0, 2 * np.pi, 2)
    relative = breathing * np.sin(2 * np.pi * breath_hz * cycle_s + breath)
    pressure_wave = 0.01 * np.sin(2 * np.pi * 0.1 * cycle_s + pressure)
    relative += pressure_wave + 0.006 * rng.standard_normal(cycle_s.size)
    onset_s = rng.uniform(0, mean_s) - LEAD_IN_S + np.cumsum(mean_s * (1 + relative))
    return _conducted(onset_s, pr_s=pr_s + 0.002 * rng.standard_normal(onset_s.size))


def fibrillation(rng: np.random.Generator, *, rate_bpm: float) -> Beats:
    """Simulates atrial fibrillation: independent RR intervals and no P waves.

    The intervals are a shortest one plus a gamma distribution. The coefficient of variation is that
    of Tateno & Glass 2001 (doi:10.1007/BF02345439), about 0.24.

    Args:
      rng: random generator.
      rate_bpm: mean heart rate, in beats per minute.
    """
    mean_s = 60 / rate_bpm
    shortest_s = 0.28
    shape = ((mean_s - shortest_s) / (mean_s * rng.uniform(0.18, 0.29))) ** 2
    count = int(1.5 * (SECONDS + LEAD_IN_S + LEAD_OUT_S) / mean_s) + 8
    rr_s = shortest_s + rng.gamma(shape, (mean_s - shortest_s) / shape, count)
    return _conducted(np.cumsum(rr_s) - LEAD_IN_S, pr_s=np.nan)


def flutter(rng: np.random.Generator, *, cycle_s: float, conduction: tuple[int, ...]) -> Beats:
    """Simulates atrial flutter, of which every second to fourth wave is conducted.

    Each RR interval is a multiple of the flutter cycle.

    Args:
      rng: random generator.
      cycle_s: flutter cycle in seconds.
      conduction: possible ratios; one = regular block, several = variable block.
    """
    count = int((SECONDS + LEAD_IN_S + LEAD_OUT_S) / (min(conduction) * cycle_s)) + 2
    return _conducted(np.cumsum(rng.choice(conduction, count)) * cycle_s - LEAD_IN_S, pr_s=np.nan)


def _conducted(onset_s: np.ndarray, *, pr_s: np.ndarray | float) -> Beats:
    in_time = onset_s < SECONDS + LEAD_OUT_S
    pr_s = np.array(np.broadcast_to(pr_s, onset_s.shape)[in_time])
    return Beats(onset_s[in_time], np.full(in_time.sum(), CONDUCTED), pr_s)


def premature(
    rng: np.random.Generator,
    beats: Beats,
    *,
    kind: int,
    coupling: float,
    every: int | None = None,
) -> Beats:
    """Makes some conducted beats premature, at least one of them inside the recording.

    A ventricular beat does not reach the sinus node: the next sinus beat comes at its normal time,
    so that the two intervals around the premature beat add up to two cycles (compensatory pause).
    An atrial beat resets the node: the next beat follows after slightly more than one cycle, and
    all later beats are shifted.

    Args:
      rng: random generator.
      beats: the rhythm without these premature beats.
      kind: ATRIAL or VENTRICULAR.
      coupling: interval from the preceding beat, as a share of the cycle, below 1.
      every: None for single premature beats; 2 = bigeminy, 3 = trigeminy.
    """
    onset_s = beats.onset_s.copy()
    kinds = beats.kind.copy()
    pr_s = beats.pr_s.copy()
    for beat in _draw_positions(rng, beats, every):
        cycle_s = onset_s[beat] - onset_s[beat - 1]
        after_s = max(cycle_s * (coupling + 0.015 * rng.standard_normal()), REFRACTORY_S)
        kinds[beat] = kind
        onset_s[beat] = onset_s[beat - 1] + after_s
        if kind == ATRIAL:
            next_s = onset_s[beat] + cycle_s * rng.uniform(1.05, 1.2)
            onset_s[beat + 1 :] += next_s - onset_s[beat + 1]
            # The P wave must not begin inside the previous QRS complex.
            pr_s[beat] = min(pr_s[beat] + rng.uniform(-0.02, 0.005), after_s - 0.15)
        else:
            pr_s[beat] = np.nan
    return Beats(onset_s, kinds, pr_s)


def _draw_positions(rng: np.random.Generator, beats: Beats, every: int | None) -> np.ndarray:
    """Draws conducted beats well inside the recording that have conducted neighbours.

    Single premature beats are more than two beats apart.
    """
    conducted = beats.kind == CONDUCTED
    free = conducted & np.roll(conducted, 1) & np.roll(conducted, -1)
    candidates = np.flatnonzero(free & (beats.onset_s > 1.0) & (beats.onset_s < SECONDS - 1.5))
    if every is not None:
        return candidates[rng.integers(every) :: every]
    wanted = 1 + rng.poisson(0.8)
    chosen = []
    for beat in rng.permutation(candidates):
        if len(chosen) < wanted and all(abs(beat - other) > 2 for other in chosen):
            chosen.append(beat)
    return np.sort(np.array(chosen, int))
