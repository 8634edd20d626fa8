"""Measurements on random accepted recordings that reveal errors of a whole data set.

A wrong sampling rate, gain, polarity or order of leads is the same in all recordings of a source,
so that a sample shows it.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ecgjax.signals import LEADS, MISSING
from tfds_builders.conversion.sample import Accepted
from tfds_builders.recording import checks

UPRIGHT = ("I", "II", "V5", "V6")
"""Leads whose QRS complex points upwards in most people: 83 (II) to 95 % (I, V6) of PTB-XL."""
LAW_FLAGS = ("einthoven", "goldberger")
ROUNDING_UV = 2
"""Deviation from Einthoven's law that the rounding of three leads to whole microvolts explains."""
EXPLAINED = 0.9
"""Share of the recordings with a broken law that a change must repair to be the explanation."""


def measure(accepted: Sequence[Accepted], rate_hz: float) -> dict[str, Any]:
    """Measures recordings.

    Returns:
      "recordings", their number; "heart_rates_bpm", whole numbers, of those with a clear one;
      "lead_range_mv", the median range of a lead, None if no lead has samples; "upright", by lead
      of UPRIGHT the share of recordings in which its largest deflection points upwards;
      "einthoven", see `_einthoven`; and "repair", the change of leads that would repair most broken
      laws, or None.
    """
    heights = [_range_uv(signal) for _, signal in accepted]
    known = [height for height in heights if height is not None]
    rates = [checks.heart_rate_bpm(signal, rate_hz) for _, signal in accepted]
    return {
        "recordings": len(accepted),
        "heart_rates_bpm": [round(rate) for rate in rates if rate and math.isfinite(rate)],
        "lead_range_mv": round(float(np.median(known)) / 1000, 3) if known else None,
        "upright": _upright(accepted),
        "einthoven": _einthoven([signal for _, signal in accepted]),
        "repair": _repair(accepted, rate_hz),
    }


def _with_nan(signal: np.ndarray) -> np.ndarray:
    return np.where(signal == MISSING, np.nan, signal.astype(np.float32))


def _range_uv(signal: np.ndarray) -> float | None:
    """Returns the median range of the leads that have samples."""
    present = (signal != MISSING).any(axis=0)
    if not present.any():
        return None
    value_uv = _with_nan(signal[:, present])
    return float(np.median(np.nanmax(value_uv, axis=0) - np.nanmin(value_uv, axis=0)))


def _upright(accepted: Sequence[Accepted]) -> dict[str, float]:
    """Returns, by lead, the share of recordings whose largest deflection points upwards."""
    shares = {}
    for lead in UPRIGHT:
        samples = [_with_nan(signal[:, LEADS.index(lead)]) for _, signal in accepted]
        samples = [value_uv for value_uv in samples if np.isfinite(value_uv).any()]
        upwards = [np.nanmax(x) + np.nanmin(x) > 2 * np.nanmedian(x) for x in samples]
        if upwards:
            shares[lead] = round(float(np.mean(upwards)), 3)
    return shares


def _einthoven(signals: Sequence[np.ndarray]) -> dict[str, int]:
    """Counts the recordings that obey III = II - I (Einthoven's law) in every sample.

    Returns:
      "recordings", those with samples of the three leads; "exact", those in which the law holds to
      the microvolt; and "rounding", those in which it holds within ROUNDING_UV.
    """
    deviations_uv = []
    for signal in signals:
        three = signal[(signal[:, :3] != MISSING).all(axis=1), :3].astype(int)
        if len(three):
            deviations_uv.append(np.abs(three @ [1, -1, 1]).max())
    counts = {"exact": 0, "rounding": ROUNDING_UV}
    held = {name: sum(each <= limit for each in deviations_uv) for name, limit in counts.items()}
    return {"recordings": len(deviations_uv)} | {name: int(held[name]) for name in held}


def _repair(accepted: Sequence[Accepted], rate_hz: float) -> str | None:
    """Returns the change of one or two limb leads that repairs most of the broken laws."""
    broken = [accept.signal for accept in accepted if _is_broken(accept.row.quality)]
    if not broken:
        return None
    swaps = itertools.combinations(LEADS[:6], 2)
    changes = [f"exchange {one} and {other}" for one, other in swaps]
    changes += [f"turn {lead} upside down" for lead in LEADS[:6]]
    repaired = {change: _share_repaired(broken, change, rate_hz) for change in changes}
    best = max(changes, key=repaired.__getitem__)
    return best if repaired[best] >= EXPLAINED else None


def _share_repaired(broken: Sequence[np.ndarray], change: str, rate_hz: float) -> float:
    """Returns the share of recordings that obey the laws after a change, 0 after a few failures."""
    repaired = 0
    for number, signal in enumerate(broken):
        if number - repaired > (1 - EXPLAINED) * len(broken):
            return 0.0
        repaired += not _is_broken(checks.find_flags(_changed(signal, change), rate_hz))
    return repaired / len(broken)


def _changed(signal: np.ndarray, change: str) -> np.ndarray:
    columns = [LEADS.index(word) for word in change.split() if word in LEADS]
    changed = signal.copy()
    if len(columns) == 2:
        changed[:, columns] = signal[:, columns[::-1]]
    else:
        lead = signal[:, columns[0]]
        changed[:, columns[0]] = np.where(lead == MISSING, MISSING, -lead)
    return changed


def _is_broken(flags: Sequence[str]) -> bool:
    return any(flag.split(":")[0] in LAW_FLAGS for flag in flags)
