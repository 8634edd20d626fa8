"""What can be wrong with a recording: reasons to reject it, and flags that it keeps.

A recording is rejected only if it cannot be read as what its file says it is. What can be read is kept and
flagged, since how much noise is too much depends on the use.
"""

from collections.abc import Iterator

import numpy as np

from ecgjax.signals import LEADS, MISSING, InputError


class RecordingError(InputError):
    """A recording that is rejected: `reason` is a word to count by, the message is one line for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


NO_ECG_UV = 50
"""If no lead covers more than this, there is no ECG: QRS complexes below 500 uV in all limb leads are called low."""
HUGE_UV = 20_000
"""A lead that covers more is no lead of a heart, whose QRS complexes stay below 10 mV; 32,767 uV is what fits."""
FLAT_UV = 10
"""A lead that stays within this range is flat: 10 uV is 0.1 mm on paper, below what a reader can see."""
SATURATED_UV, SATURATED_S = 2000, 0.1
"""A lead is saturated if it stays this long at its own extreme, with that extreme at least this high."""
CLIPPED_UV, CLIPPED_S, CLIPPED_RUNS = 500, 0.008, 3
"""A lead is clipped if it stays this long at its own extreme as often as this: peaks that an amplifier has cut."""
RESIDUAL_UV, RESIDUAL_SHARE = 25, 0.2
"""A limb lead disagrees with I and II if it is this far from what follows from them, and by this share of it; both as
standard deviations. In PTB-XL III = II - I within 2 uV in 99.67 % of the records."""
LAWS = {"III": ("einthoven", -1, 1), "aVR": ("goldberger", -0.5, -0.5), "aVL": ("goldberger", 1, -0.5)}
LAWS |= {"aVF": ("goldberger", -0.5, 1)}
"""Limb leads as sums of I and II with these weights. Leads that are swapped in a file break one of the laws; electrodes
that were swapped on the patient break none."""


def require_ecg(signal: np.ndarray, where: str) -> None:
    """Rejects what was read without error and is still no ECG.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` where a sample is missing.
      where: the recording, for the message.

    Raises:
      RecordingError: all samples are missing, or all leads are so low that gain or units must be wrong.
    """
    missing = signal == MISSING
    if missing.all():
        raise RecordingError("missing", f"{where}: all samples are missing; leave it out")
    highest = np.where(missing, -32767, signal).max(axis=0).astype(int)
    lowest = np.where(missing, 32767, signal).min(axis=0).astype(int)
    if (most := (highest - lowest).max()) <= NO_ECG_UV:
        problem = f"{where}: no lead covers more than {max(most, 0)} uV"
        raise RecordingError("amplitude", f"{problem}; check gain and units (off by 1000?), or leave it out")


def flags(signal: np.ndarray, rate_hz: float) -> list[str]:
    """Quality flags of a stored recording.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` where a sample is missing.
      rate_hz: sampling rate, in Hz.

    Returns:
      "missing" if any sample is missing, and "flat:LEAD", "huge:LEAD", "saturated:LEAD", "clipped:LEAD",
      "einthoven:III" and "goldberger:LEAD" for each lead concerned.
    """
    by_lead = np.ascontiguousarray(signal.T)
    missing = by_lead == MISSING
    found = ["missing"] if missing.any() else []
    by_lead = np.where(missing, 0, by_lead) if found else by_lead
    lowest, highest = by_lead.min(axis=1).astype(int), by_lead.max(axis=1).astype(int)
    found += [f"flat:{LEADS[lead]}" for lead in np.flatnonzero(highest - lowest <= FLAT_UV)]
    found += [f"huge:{LEADS[lead]}" for lead in np.flatnonzero(highest - lowest > HUGE_UV)]
    for lead in np.flatnonzero(np.maximum(highest, -lowest) >= CLIPPED_UV):
        found += _at_extremes(by_lead[lead], (lowest[lead], highest[lead]), LEADS[lead], rate_hz)
    return found + list(_disagreements(by_lead, missing if found else None))


def _at_extremes(values: np.ndarray, extremes: tuple[int, int], lead: str, rate_hz: float) -> list[str]:
    """saturated, or else clipped, or neither."""
    long, short = max(2, round(SATURATED_S * rate_hz)), max(3, round(CLIPPED_S * rate_hz))
    clipped = False
    for uv in extremes:
        there = values == uv
        if abs(uv) < CLIPPED_UV or np.count_nonzero(there) < CLIPPED_RUNS * 3:
            continue
        runs = _runs(there)
        if abs(uv) >= SATURATED_UV and runs.max() >= long:
            return [f"saturated:{lead}"]
        clipped |= (runs >= short).sum() >= CLIPPED_RUNS
    return [f"clipped:{lead}"] if clipped else []


def _runs(condition: np.ndarray) -> np.ndarray:
    """Lengths of the stretches in which it holds."""
    edges = np.flatnonzero(np.diff(condition, prepend=False, append=False))
    return edges[1::2] - edges[::2]


def _disagreements(by_lead: np.ndarray, missing: np.ndarray | None) -> Iterator[str]:
    one, two = by_lead[0].astype(np.float32), by_lead[1].astype(np.float32)
    for lead, (law, a, b) in LAWS.items():
        row = LEADS.index(lead)
        expected = a * one + b * two
        residual = by_lead[row] - expected
        if missing is not None and (gaps := missing[[0, 1, row]].any(axis=0)).any():
            if gaps.all():
                continue
            expected, residual = expected[~gaps], residual[~gaps]
        if (off := residual.std()) > RESIDUAL_UV and off > RESIDUAL_SHARE * expected.std():
            yield f"{law}:{lead}"
