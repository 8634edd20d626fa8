"""What a recording is: leads, units, rates.

A stored recording is int16 at 1 uV per LSB, shape [time, lead], leads in the order of `LEADS`, and `MISSING` where a
sample is missing. Everything here works on that form, whatever the source was.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from ecgjax.errors import InputError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MISSING = -32768
WAVES = ("none", "P", "QRS", "T")
"""What a sample may belong to, by the number that marks it where a data set says so."""
UNMARKED = 255
"""The mark of a sample of which nobody has said what it belongs to."""


def lead_indices(names: Sequence[str], where: str) -> list[int]:
    """Indices into `names` that put them in the order of `LEADS`; upper and lower case are the same (AVR is aVR).

    Args:
      names: lead names as the source writes them, one a column.
      where: the file or array they come from, for the error message.

    Raises:
      InputError: a lead of the twelve is absent or occurs twice.
    """
    folded = [name.strip().casefold() for name in names]
    absent = [lead for lead in LEADS if lead.casefold() not in folded]
    twice = sorted({name for name, low in zip(names, folded, strict=True) if folded.count(low) > 1})
    if absent or twice:
        problem = (
            f"lacks lead {', '.join(absent)}" if absent else f"has lead {', '.join(twice)} twice"
        )
        raise InputError(
            f"{where}: {problem} (found: {' '.join(names)}); give all twelve standard leads once"
        )
    return [folded.index(lead.casefold()) for lead in LEADS]


@functools.lru_cache(maxsize=64)
def rate_ratio(from_hz: float, to_hz: float) -> tuple[int, int]:
    """(up, down), the smallest integers with from_hz * up / down = to_hz."""
    if not (math.isfinite(from_hz) and from_hz > 0):
        raise InputError(
            f"sampling rate {from_hz} Hz: give the recording's rate in Hz, a positive number"
        )
    ratio = np.rint(np.array([to_hz, from_hz]) * 1000).astype(
        int
    )  # rates are known to a thousandth of a Hz
    divisor = math.gcd(*ratio.tolist())
    return int(ratio[0] // divisor), int(ratio[1] // divisor)
