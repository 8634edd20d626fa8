"""Checks of the samples of a stored recording: is it an ECG, and which quality flags does it get?

`quality` explains the flags and defines their thresholds.
"""

import numpy as np

from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording import quality
from tfds_builders.recording.quality import RecordingError

LAWS = ("einthoven:III", "goldberger:aVR", "goldberger:aVL", "goldberger:aVF")
LAW_WEIGHTS = np.array([(-1, 1), (-0.5, -0.5), (1, -0.5), (-0.5, 1)], np.float32)
"""These four leads as weighted sums of I and II. Leads that are exchanged in a file break at least
one of the laws; electrodes that were exchanged on the patient break none."""
SAMPLES_COMPARED = 1000
"""Samples of a lead that the laws are checked on: enough for a standard deviation."""


def require_ecg(signal: np.ndarray, origin: str) -> None:
    """Rejects a recording that was read without error but holds no ECG.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` for a missing sample.
      origin: the recording, for the error message.

    Raises:
      RecordingError: all samples are missing, or every lead is so low that gain or units must be
        wrong.
    """
    widest = -1
    for lead in map(np.ascontiguousarray, signal.T):  # the first lead suffices unless it is flat
        valid = lead[lead != MISSING] if lead.min() == MISSING else lead
        widest = max(widest, int(valid.max()) - int(valid.min()) if len(valid) else -1)
        if widest > quality.NO_ECG_UV:
            return
    if widest < 0:
        raise RecordingError("missing", f"{origin}: all samples are missing; leave it out")
    problem = f"{origin}: no lead covers more than {widest} uV"
    raise RecordingError(
        "amplitude", f"{problem}; check gain and units (wrong by 1000?), or leave it out"
    )


def find_flags(signal: np.ndarray, rate_hz: float) -> list[str]:
    """Returns the quality flags of a stored recording.

    Args:
      signal: int16 [time, 12], 1 uV per LSB, `MISSING` for a missing sample.
      rate_hz: sampling rate, in Hz.

    Returns:
      "missing" if any sample is missing, and "flat:LEAD", "huge:LEAD", "saturated:LEAD",
      "clipped:LEAD", "einthoven:III" and "goldberger:LEAD" for each lead concerned.
    """
    by_lead = np.ascontiguousarray(signal.T)
    missing = by_lead == MISSING if by_lead.min() == MISSING else None
    if missing is not None:
        by_lead = np.where(missing, 0, by_lead)
    lowest = by_lead.min(axis=1).astype(int)
    highest = by_lead.max(axis=1).astype(int)
    height = highest - lowest
    flags = [] if missing is None else ["missing"]
    flags += [f"flat:{LEADS[lead]}" for lead in np.flatnonzero(height <= quality.FLAT_UV)]
    flags += [f"huge:{LEADS[lead]}" for lead in np.flatnonzero(height > quality.HUGE_UV)]
    flags += _saturated_or_clipped(by_lead, (lowest, highest), rate_hz)
    return flags + _broken_laws(by_lead, missing)


def _saturated_or_clipped(
    by_lead: np.ndarray, extremes: tuple[np.ndarray, np.ndarray], rate_hz: float
) -> list[str]:
    """Returns the flag "saturated", or else "clipped", of each lead that deserves one."""
    saturated_run = max(2, round(quality.SATURATED_S * rate_hz))
    clipped_run = max(3, round(quality.CLIPPED_S * rate_hz))
    fewest_pairs = min(saturated_run - 1, quality.CLIPPED_RUNS * (clipped_run - 1))
    flags: dict[str, str] = {}
    for level_uv in extremes:
        at_level = by_lead == level_uv.astype(np.int16)[:, None]
        # A fast test that nearly all recordings pass: n samples in a row are n - 1 equal pairs.
        if np.count_nonzero(at_level[:, 1:] & at_level[:, :-1]) < fewest_pairs:
            continue
        for lead in np.flatnonzero(np.abs(level_uv) >= quality.CLIPPED_UV):
            runs = _run_lengths(at_level[lead])
            high = abs(level_uv[lead]) >= quality.SATURATED_UV
            if high and runs.max() >= saturated_run:
                flags[LEADS[lead]] = "saturated"
            elif (runs >= clipped_run).sum() >= quality.CLIPPED_RUNS:
                flags.setdefault(LEADS[lead], "clipped")
    return [f"{flags[lead]}:{lead}" for lead in LEADS if lead in flags]


def _run_lengths(condition: np.ndarray) -> np.ndarray:
    """Returns the lengths of the runs of samples for which the condition is true."""
    edges = np.flatnonzero(np.diff(condition, prepend=False, append=False))
    return edges[1::2] - edges[::2]


def _broken_laws(by_lead: np.ndarray, missing: np.ndarray | None) -> list[str]:
    every_nth = slice(None, None, max(1, by_lead.shape[1] // SAMPLES_COMPARED))
    limb_leads = by_lead[:6, every_nth].astype(np.float32)
    expected = LAW_WEIGHTS @ limb_leads[:2]
    residual = limb_leads[2:] - expected
    if missing is not None:
        absent = missing[:2, every_nth].any(axis=0) | missing[2:6, every_nth]
        expected = np.ma.masked_where(absent, expected)
        residual = np.ma.masked_where(absent, residual)
    # A lead without any sample has a masked deviation: 0 in its place raises no flag.
    deviation = np.ma.filled(residual.std(axis=1), 0)
    spread = np.ma.filled(expected.std(axis=1), 0)
    limit = np.maximum(quality.RESIDUAL_UV, quality.RESIDUAL_SHARE * spread)
    return [LAWS[row] for row in np.flatnonzero(deviation > limit)]
