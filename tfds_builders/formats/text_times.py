"""The column of times or sample numbers of a text file: recognised, checked and left out."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfds_builders.recording.quality import RecordingError

_SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanoseconds"), 1e-9),
}
_NAME = re.compile(
    r"(?:|#|n|nr|no|idx|index|row|unnamed: 0|id|"
    r"(?:elapsed |relative )?(?:time|times|t|zeit|timestamp|datetime|date)|"
    r"(?:sample|samples|frame)(?: (?:#|n|no|nr|number|index|id))?)"
)
_NAME_AND_UNIT = re.compile(r"(?P<name>.*?)[ (\[,]*(?:in )?(?P<unit>[a-zµμ]+)[)\]]?")
TOLERANCE = 0.02
"""Share by which the times may differ from the sampling rate: they are often rounded."""


def unit_s(name: str, below: str = "") -> float | None:
    """Returns the seconds per unit of a column of times.

    Args:
      name: name of the column.
      below: the cell of a row of units below the name.

    Returns:
      None if the name is no name of times or of sample numbers; 0 if the unit is unknown.
    """
    text = " ".join(re.split(r"[\s_.]+", name.casefold().strip()))
    if text in _SECONDS:
        return _SECONDS[text]
    if _NAME.fullmatch(text):
        return _SECONDS.get(below.casefold().strip(), 0.0)
    match = _NAME_AND_UNIT.fullmatch(text)
    if match and match["unit"] in _SECONDS and _NAME.fullmatch(match["name"].strip()):
        return _SECONDS[match["unit"]]
    return None


def is_unit(text: str) -> bool:
    """Tells whether a cell of a row of units belongs to a column of times."""
    return text.casefold().strip() in {*_SECONDS, "", "hh:mm:ss", "hh:mm:ss.mmm", "#"}


def is_increasing(cells: Sequence[str]) -> bool:
    """Tells whether a column without a name may be times or sample numbers."""
    times = _numbers(cells)
    return times is not None and len(times) > 1 and bool((np.diff(times) > 0).all())


def check(cells: Sequence[str], unit: float, rate_hz: float, path: Path) -> None:
    """Compares times with the sampling rate. Times of day, which are no numbers, are not checked.

    Args:
      cells: the column.
      unit: seconds per unit; 0 if unknown.
      rate_hz: sampling rate as the user describes it, in Hz.
      path: the file, for the error message.

    Raises:
      RecordingError: the times go back, have a gap, or belong to another rate.
    """
    times = _numbers(cells)
    if times is None or len(times) < 3:
        return
    steps = np.diff(times)
    if (steps < 0).any():
        row = int((steps < 0).argmax()) + 2
        problem = f"{path}: its times go back at sample {row}"
        raise RecordingError("shape", f"{problem}; write one file for each recording")
    step = float(np.median(steps))
    # Times that are rounded to more than a sample differ by 0 most of the time.
    if step > 0 and (longest := float(steps.max())) > 1.5 * step + float(steps.min()):
        problem = f"{path}: its times have a gap of {longest:g} after sample {steps.argmax() + 1}"
        raise RecordingError("shape", f"{problem}; write the missing samples as empty cells")
    _check_rate((times[-1] - times[0]) / len(steps), unit, rate_hz, path)


def _check_rate(mean_step: float, unit: float, rate_hz: float, path: Path) -> None:
    units = (unit,) if unit else (1.0, 1e-3, 1e-6, 1e-9)
    is_count = not unit and abs(mean_step - 1) < TOLERANCE
    agrees = any(abs(mean_step * unit_s * rate_hz - 1) < TOLERANCE for unit_s in units)
    if mean_step > 0 and not is_count and not agrees:
        problem = f"{path}: its times differ by {mean_step:g} from row to row"
        problem += f", which is not {rate_hz:g} Hz"
        raise RecordingError("rate", f"{problem}; correct rate_hz in arrays.json, or the times")


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    try:
        numbers = np.array([float(cell.replace(",", ".")) for cell in cells])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
