"""Plot of recordings with their true and predicted waves, written as PNG."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ecgjax.evaluate.figure_file import save_figure
from ecgjax.evaluate.plots import OKABE_ITO
from ecgjax.signals import LEADS, MISSING, UNMARKED, WAVES

_COLOURS = {"P": OKABE_ITO["blue"], "QRS": OKABE_ITO["vermilion"], "T": OKABE_ITO["green"]}
_COLOURS |= {"not marked": "lightgrey"}
_NAMES = {UNMARKED: "not marked"} | dict(enumerate(WAVES))
_LEAD = "II"
_SECONDS = 5.0


def draw(
    signals: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    path: Path,
    *,
    signal_hz: float,
    labels_hz: float,
) -> None:
    """Plots lead II of the first 5 s of each recording with coloured waves.

    True waves are shaded in the upper half, predicted waves in the lower half. Grey: not marked.

    Args:
      signals: stored recordings, int16 [recording, time, lead].
      truth: true wave labels, [recording, time].
      predicted: predicted wave labels, [recording, time].
      path: the PNG file.
      signal_hz: sampling rate of the signals, in Hz.
      labels_hz: sampling rate of the wave labels, in Hz.
    """
    figure = Figure(figsize=(12, 0.6 + 2.2 * len(signals)), layout="constrained")
    for row, signal in enumerate(signals):
        axes = figure.add_subplot(len(signals), 1, row + 1)
        lead = signal[: round(_SECONDS * signal_hz), LEADS.index(_LEAD)]
        lead_mv = np.where(lead == MISSING, np.nan, lead * 1e-3)
        axes.plot(np.arange(len(lead)) / signal_hz, lead_mv, "k", linewidth=0.9)
        _shade(axes, truth[row], labels_hz, 0.5, 1.0)
        _shade(axes, predicted[row], labels_hz, 0.0, 0.5)
        for top, name in ((1.0, "true"), (0.5, "predicted")):
            axes.text(0.003, top - 0.03, name, transform=axes.transAxes, va="top", fontsize=8)
        axes.axhline(sum(axes.get_ylim()) / 2, color="k", linewidth=0.4, linestyle=":")
        axes.set(xlim=(0, _SECONDS), ylabel=f"{_LEAD}, mV")
    figure.axes[-1].set_xlabel("s")
    patches = [Patch(color=colour, alpha=0.35, label=wave) for wave, colour in _COLOURS.items()]
    figure.legend(handles=patches, loc="outside upper right", ncols=len(patches), frameon=False)
    save_figure(figure, path, dpi=130)


def _shade(axes: Axes, labels: np.ndarray, rate_hz: float, bottom: float, top: float) -> None:
    """Shades the waves between `bottom` and `top`, given as shares of the panel's height."""
    labels = labels[: round(_SECONDS * rate_hz)]
    edges = np.flatnonzero(np.diff(labels, prepend=0, append=0))
    for start, stop in zip(edges, edges[1:], strict=False):
        if colour := _COLOURS.get(_NAMES[int(labels[start])]):
            axes.axvspan(
                start / rate_hz, stop / rate_hz, bottom, top, color=colour, alpha=0.35, linewidth=0
            )
