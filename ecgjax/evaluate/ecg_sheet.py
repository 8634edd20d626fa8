"""12-lead ECG sheets on graph paper, written as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ecgjax.errors import InputError
from ecgjax.evaluate.figure_file import save_figure
from ecgjax.signals import LEADS, MISSING

_MM_PER_INCH = 25.4
_MM_PER_S = 25.0
_MM_PER_MV = 10.0
_DOTS_PER_MM = 6
_SHEET_S = 10.0
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
_PAPER = "#FFFAF8"

# Margins and height of a row, in mm. Multiples of 5 put the baselines on thick grid lines.
_LEFT = 15.0
_RIGHT = 5.0
_TOP = 15.0
_BOTTOM = 10.0
_ROW = 30.0
_WIDTH = _LEFT + _SHEET_S * _MM_PER_S + _RIGHT
_HEIGHT = _TOP + len(_ROWS) * _ROW + _BOTTOM


def draw(
    signals: Sequence[np.ndarray], path: Path, *, rate_hz: float, titles: Sequence[str]
) -> None:
    """Draws standard 12-lead sheets below each other: 3 x 4 leads of 2.5 s, and 10 s of lead II.

    Printed at the size stated in the PNG, the scale is 25 mm/s and 10 mm/mV. The columns are
    consecutive in time and synchronous with the rhythm strip. The median of each lead is on the
    baseline. Missing samples are a gap.

    Args:
      signals: stored recordings, int16 [time, lead]; only the first 10 s are drawn.
      path: the PNG file.
      rate_hz: sampling rate, in Hz.
      titles: one or two lines for each recording: patient, date, age and sex, statements.

    Raises:
      InputError: a signal does not have the shape [time, 12].
    """
    size = (_WIDTH / _MM_PER_INCH, len(signals) * _HEIGHT / _MM_PER_INCH)
    figure = Figure(figsize=size, facecolor=_PAPER)
    for number, (signal, title) in enumerate(zip(signals, titles, strict=True), start=1):
        if np.ndim(signal) != 2 or np.shape(signal)[1] != len(LEADS):
            raise InputError(
                f"{title}: signal has shape {np.shape(signal)}; give [time, {len(LEADS)} leads]"
            )
        axes = figure.add_axes((0, 1 - number / len(signals), 1, 1 / len(signals)))
        axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        axes.axis("off")
        _draw_paper(axes)
        _draw_leads(axes, signal, rate_hz)
        axes.text(
            _LEFT, _HEIGHT - 2.5, title, va="top", fontsize=10, fontweight="bold", linespacing=1.3
        )
        scale = f"25 mm/s   10 mm/mV   small square 0.04 s, 0.1 mV   sampled at {rate_hz:g} Hz"
        axes.text(_LEFT, _BOTTOM - 2.5, scale, va="top", fontsize=8)
    save_figure(figure, path, dpi=_DOTS_PER_MM * _MM_PER_INCH)


def _draw_paper(axes: Axes) -> None:
    top = _HEIGHT - _TOP
    for spacing, colour, width in ((1, "#F7D5CE", 0.4), (5, "#E9A79B", 0.7)):
        vertical = [[(x, _BOTTOM), (x, top)] for x in np.arange(0, _WIDTH + 1, spacing)]
        horizontal = [[(0, y), (_WIDTH, y)] for y in np.arange(_BOTTOM, top + 1, spacing)]
        axes.add_collection(
            LineCollection(vertical + horizontal, colors=colour, linewidths=width, zorder=1)
        )


def _draw_leads(axes: Axes, signal: np.ndarray, rate_hz: float) -> None:
    samples = round(_SHEET_S * rate_hz)
    signal_mm = np.where(signal == MISSING, np.nan, signal * 1e-3 * _MM_PER_MV)[: samples + 1]
    time_mm = _LEFT + np.arange(len(signal_mm)) / rate_hz * _MM_PER_S
    for row, names in enumerate(_ROWS):
        baseline = _HEIGHT - _TOP - (row + 0.5) * _ROW
        pulse = baseline + np.array([0, 0, 1, 1, 0, 0]) * _MM_PER_MV  # 1 mV for 0.2 s
        axes.plot(_LEFT - np.array([9, 7.5, 7.5, 2.5, 2.5, 1]), pulse, "k", linewidth=0.9)
        edges = np.linspace(0, samples, len(names) + 1).astype(int)
        for name, start, stop in zip(names, edges, edges[1:], strict=False):
            lead = signal_mm[:, LEADS.index(name)]
            present = lead[~np.isnan(lead)]
            centred = lead - (np.median(present) if len(present) else 0)
            shown = slice(start, stop + 1)
            axes.plot(
                time_mm[shown],
                baseline + centred[shown],
                "k",
                linewidth=0.9,
                solid_joinstyle="round",
            )
            left = _LEFT + start / rate_hz * _MM_PER_S
            # In another colour and behind the trace, so that a tall beat and the name stay visible.
            above = baseline + 11.5
            axes.text(
                left + 1, above, name, fontsize=9, fontweight="bold", color="#1F4E9C", zorder=1.5
            )
            axes.plot([left, left], [baseline - 4, baseline + 4], "k", linewidth=0.5)
