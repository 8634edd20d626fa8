"""What can be wrong with a recording: reasons to reject it, and flags that it keeps.

A recording is rejected only if it cannot be read as what its file says it is. What can be read is kept and
flagged, since how much noise is too much depends on the use.
"""

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING


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
LAWS = ("einthoven:III", "goldberger:aVR", "goldberger:aVL", "goldberger:aVF")
LAW_WEIGHTS = np.array([(-1, 1), (-0.5, -0.5), (1, -0.5), (-0.5, 1)], np.float32)
"""These four as sums of I and II. Leads that are swapped in a file break one of the laws; electrodes that
were swapped on the patient break none."""


def require_ecg(signal: np.ndarray, where: str) -> None:
    """Rejects what was read without error and is still no ECG.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` where a sample is missing.
      where: the recording, for the message.

    Raises:
      RecordingError: all samples are missing, or all leads are so low that gain or units must be wrong.
    """
    most = -1
    for lead in map(np.ascontiguousarray, signal.T):  # the first will do, unless it is flat
        there = lead[lead != MISSING] if lead.min() == MISSING else lead
        most = max(most, int(there.max()) - int(there.min()) if len(there) else -1)
        if most > NO_ECG_UV:
            return
    if most < 0:
        raise RecordingError("missing", f"{where}: all samples are missing; leave it out")
    problem = f"{where}: no lead covers more than {most} uV"
    raise RecordingError(
        "amplitude", f"{problem}; check gain and units (off by 1000?), or leave it out"
    )


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
    lowest, highest = by_lead.min(axis=1).astype(int), by_lead.max(axis=1).astype(int)
    missing = by_lead == MISSING if lowest.min() == MISSING else None
    if missing is not None:
        by_lead = np.where(missing, 0, by_lead)
        lowest, highest = by_lead.min(axis=1).astype(int), by_lead.max(axis=1).astype(int)
    found = [] if missing is None else ["missing"]
    found += [f"flat:{LEADS[lead]}" for lead in np.flatnonzero(highest - lowest <= FLAT_UV)]
    found += [f"huge:{LEADS[lead]}" for lead in np.flatnonzero(highest - lowest > HUGE_UV)]
    found += _at_extremes(by_lead, (lowest, highest), rate_hz)
    return found + _disagreements(by_lead, missing)


def _at_extremes(
    by_lead: np.ndarray, extremes: tuple[np.ndarray, np.ndarray], rate_hz: float
) -> list[str]:
    """saturated, or else clipped, or neither, for each lead."""
    long, short = max(2, round(SATURATED_S * rate_hz)), max(3, round(CLIPPED_S * rate_hz))
    found: dict[str, str] = {}
    for uv in extremes:
        there = by_lead == uv.astype(np.int16)[:, None]
        # Nearly always, and fast to see: a run of samples has one pair of neighbours less than samples.
        if np.count_nonzero(there[:, 1:] & there[:, :-1]) < min(
            long - 1, CLIPPED_RUNS * (short - 1)
        ):
            continue
        for lead in np.flatnonzero(np.abs(uv) >= CLIPPED_UV):
            runs = _runs(there[lead])
            if abs(uv[lead]) >= SATURATED_UV and runs.max() >= long:
                found[LEADS[lead]] = "saturated"
            elif (runs >= short).sum() >= CLIPPED_RUNS:
                found.setdefault(LEADS[lead], "clipped")
    return [f"{found[lead]}:{lead}" for lead in LEADS if lead in found]


def _runs(condition: np.ndarray) -> np.ndarray:
    """Lengths of the stretches in which it holds."""
    edges = np.flatnonzero(np.diff(condition, prepend=False, append=False))
    return edges[1::2] - edges[::2]


def _disagreements(by_lead: np.ndarray, missing: np.ndarray | None) -> list[str]:
    # Every so many samples: a thousand of them tell a standard deviation well enough.
    few = slice(None, None, max(1, by_lead.shape[1] // 1000))
    limb = by_lead[:6, few].astype(np.float32)
    expected = LAW_WEIGHTS @ limb[:2]
    residual = limb[2:] - expected
    if missing is not None:
        absent = missing[:2, few].any(axis=0) | missing[2:6, few]
        expected, residual = (np.ma.masked_where(absent, uv) for uv in (expected, residual))
    # filled: of a lead of which nothing is there, nothing is known.
    off, spread = (np.ma.filled(uv.std(axis=1), 0) for uv in (residual, expected))
    return [
        LAWS[row] for row in np.flatnonzero(off > np.maximum(RESIDUAL_UV, RESIDUAL_SHARE * spread))
    ]
