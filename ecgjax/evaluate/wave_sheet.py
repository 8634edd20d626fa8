"""A picture of recordings with their waves marked, the truth above and what was found below."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ecgjax.signals import LEADS, MISSING, WAVES

# Okabe and Ito's colours (2008), told apart with any colour vision.
_COLOURS = {"P": "#0072B2", "QRS": "#D55E00", "T": "#009E73"}
_LEAD = "II"
_SECONDS = 5.0
_BANDS = ("true", "found")


def draw(
    signals: np.ndarray,
    marks: Sequence[np.ndarray],
    path: Path,
    *,
    signal_hz: float,
    marks_hz: float,
) -> None:
    """Lead II of the first 5 s of each recording; the upper half is shaded by the true waves, the lower by the found.

    Args:
      signals: stored recordings, int16 [recording, time, lead].
      marks: true and found class of each sample, each [recording, time].
      path: of the PNG.
      signal_hz: rate of the signals, in Hz.
      marks_hz: rate of the marks, in Hz.
    """
    figure = Figure(figsize=(12, 0.6 + 2.2 * len(signals)), layout="constrained")
    for row, signal in enumerate(signals):
        axes = figure.add_subplot(len(signals), 1, row + 1)
        lead = signal[: round(_SECONDS * signal_hz), LEADS.index(_LEAD)]
        lead_mv = np.where(lead == MISSING, np.nan, lead * 1e-3)
        axes.plot(np.arange(len(lead)) / signal_hz, lead_mv, "k", linewidth=0.9)
        middle = 0.5
        for number, (name, of_recordings) in enumerate(zip(_BANDS, marks, strict=True)):
            bottom, top = (middle, 1.0) if number == 0 else (0.0, middle)
            _shade(axes, of_recordings[row], marks_hz, bottom, top)
            axes.text(0.003, top - 0.03, name, transform=axes.transAxes, va="top", fontsize=8)
        axes.axhline(sum(axes.get_ylim()) / 2, color="k", linewidth=0.4, linestyle=":")
        axes.set(xlim=(0, _SECONDS), ylabel=f"{_LEAD}, mV")
    figure.axes[-1].set_xlabel("s")
    patches = [Patch(color=colour, alpha=0.35, label=wave) for wave, colour in _COLOURS.items()]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(patches), frameon=False)
    figure.savefig(path, dpi=130)


def _shade(axes, marks: np.ndarray, rate_hz: float, bottom: float, top: float) -> None:
    """Shades each run of equal marks from `bottom` to `top`, shares of the panel's height."""
    marks = marks[: round(_SECONDS * rate_hz)]
    edges = np.flatnonzero(np.diff(marks, prepend=0, append=0))
    for start, stop in zip(edges, edges[1:], strict=False):
        if 0 < marks[start] < len(WAVES):
            colour = _COLOURS[WAVES[marks[start]]]
            axes.axvspan(
                start / rate_hz, stop / rate_hz, bottom, top, color=colour, alpha=0.35, linewidth=0
            )
