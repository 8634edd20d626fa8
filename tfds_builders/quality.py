"""What can be wrong with a recording: reasons to reject it, and flags that it keeps.

A recording is rejected only if it cannot be read as what its file says it is. What can be read is kept and
flagged, since how much noise is too much depends on the use.
"""

import numpy as np

from ecgjax.signals import LEADS, MISSING, InputError


class RecordingError(InputError):
    """A recording that is rejected: `reason` is a word to count by, the message is one line for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


FLAT_UV = 10
"""A lead that stays within this range is flat: 10 uV is 0.1 mm on paper, below what a reader can see."""
SATURATED_UV, SATURATED_S = 2000, 0.1
"""A lead is saturated if it stays this long at its own extreme, with that extreme at least this high."""


def flags(signal: np.ndarray, rate_hz: float) -> list[str]:
    """Quality flags of a stored recording.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` where a sample is missing.
      rate_hz: sampling rate, in Hz.

    Returns:
      "missing" if any sample is missing, and "flat:LEAD" or "saturated:LEAD" for each lead concerned.
    """
    by_lead = np.ascontiguousarray(signal.T)
    missing = by_lead == MISSING
    found = ["missing"] if missing.any() else []
    by_lead = np.where(missing, 0, by_lead) if found else by_lead
    lowest, highest = by_lead.min(axis=1).astype(int), by_lead.max(axis=1).astype(int)
    found += [f"flat:{LEADS[lead]}" for lead in np.flatnonzero(highest - lowest <= FLAT_UV)]
    run = max(2, round(SATURATED_S * rate_hz))
    for lead in np.flatnonzero((highest >= SATURATED_UV) | (lowest <= -SATURATED_UV)):
        extremes = [uv for uv in (lowest[lead], highest[lead]) if abs(uv) >= SATURATED_UV]
        if any(_longest_run(by_lead[lead] == uv) >= run for uv in extremes):
            found.append(f"saturated:{LEADS[lead]}")
    return found


def _longest_run(condition: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(condition, prepend=False, append=False))
    return int((edges[1::2] - edges[::2]).max(initial=0))
