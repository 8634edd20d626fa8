"""Conventions of a stored recording: leads, units, sampling rates and wave names.

A stored recording is int16 at 1 uV per LSB, shape [time, lead], leads in the order of `LEADS`, with
`MISSING` in place of missing samples. All code works on this form, whatever the source was.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from ecgjax.errors import InputError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MISSING = -32768
WAVES = ("none", "P", "QRS", "T")
"""Waves that a sample may belong to. The position in this tuple is the number that is stored."""
UNMARKED = 255
"""Number of a sample that was not annotated."""


def lead_indices(names: Sequence[str], source: str) -> list[int]:
    """Returns indices into `names` that put them in the order of `LEADS`, ignoring case.

    Args:
      names: lead names as the source writes them, one for each column.
      source: the file or array that they come from, for the error message.

    Raises:
      InputError: one of the twelve leads is absent or occurs twice.
    """
    folded = [name.strip().casefold() for name in names]
    absent = [lead for lead in LEADS if lead.casefold() not in folded]
    twice = sorted({name for name, low in zip(names, folded, strict=True) if folded.count(low) > 1})
    if absent or twice:
        problem = (
            f"lacks lead {', '.join(absent)}" if absent else f"has lead {', '.join(twice)} twice"
        )
        raise InputError(
            f"{source}: {problem} (found: {' '.join(names)}); give all twelve standard leads once"
        )
    return [folded.index(lead.casefold()) for lead in LEADS]


@functools.lru_cache(maxsize=64)
def rate_ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """Returns (up, down), the smallest integers with from_hz * up / down = to_hz.

    Rates count to a thousandth of a Hz.

    Raises:
      InputError: `from_hz` is not a positive number.
    """
    if not (math.isfinite(from_hz) and from_hz > 0):
        raise InputError(
            f"sampling rate {from_hz} Hz: give the recording's rate in Hz, a positive number"
        )
    millihertz = np.rint(np.array([to_hz, from_hz]) * 1000).astype(int)
    divisor = math.gcd(*millihertz.tolist())
    return int(millihertz[0] // divisor), int(millihertz[1] // divisor)
