"""Pictures of the clinical report, written as PNG: calibration, net benefit, predicted risks.

Curves are given by name with their colours, so that a method looks the same in every picture.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ecgjax.evaluate import plots
from ecgjax.evaluate.figure_file import save_figure

SIZE = (5.6, 4.8)
"""Width and height of a picture, in inches."""
_DPI = 130
_RISK_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
_ODDS_LIMIT = 11.0
_BARS = 44
_MARKERS = "os^Dvpx*"


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Observed against predicted risk, NaN for bins with too few recordings."""

    name: str
    colour: str
    predicted: np.ndarray
    """Mean predicted risk of each bin, [bin]."""
    observed: np.ndarray
    """Share of cases in each bin, [bin]."""
    low: np.ndarray
    """Lower end of its interval, [bin]."""
    high: np.ndarray


def reliability(curves: Sequence[Reliability], path: Path, *, title: str) -> None:
    """Plots the observed share of cases against the predicted risk, with the ideal diagonal."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#777777", linestyle=":", linewidth=1.2, label="ideal")
    for i, curve in enumerate(curves):
        shown = ~np.isnan(curve.predicted) & ~np.isnan(curve.observed)
        # Shifted sideways by less than the width of a marker, so that bars do not cover each other.
        x = curve.predicted[shown] + 0.006 * (i - (len(curves) - 1) / 2)
        style = {"color": curve.colour, "linewidth": 1.2, "markersize": 5}
        axes.plot(x, curve.observed[shown], f"{_MARKERS[i % 8]}-", label=curve.name, **style)
        bounds = (curve.low[shown], curve.high[shown])
        axes.vlines(x, *bounds, colors=curve.colour, linewidth=1.2, alpha=0.6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=title)
    axes.set(xlabel="predicted risk", ylabel="observed share of cases")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    _finish(figure, axes, path, columns=2)


def decision_curve(
    thresholds: np.ndarray,
    curves: Sequence[tuple[str, str, np.ndarray]],
    treat_all: np.ndarray,
    path: Path,
    *,
    title: str,
    marked: Sequence[float] = (),
) -> None:
    """Plots the net benefit of deciding by each method against the threshold.

    Args:
      thresholds: risks, [threshold].
      curves: name, colour and net benefit [threshold] of each method.
      treat_all: net benefit of treating everybody, [threshold].
      path: the PNG file.
      title: title of the picture.
      marked: thresholds with a vertical line.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    for threshold in marked:
        axes.axvline(threshold, color="#BBBBBB", linewidth=1, linestyle=(0, (2, 3)))
    axes.plot(thresholds, 100 * treat_all, color="#000000", linewidth=1.2, label="treat all")
    axes.axhline(0, color="#000000", linewidth=1.2, linestyle="--", label="treat none")
    for name, colour, benefit in curves:
        axes.plot(thresholds, 100 * benefit, color=colour, linewidth=1.8, label=name)
    top = 100 * max(treat_all.max(), *(benefit.max() for *_, benefit in curves))
    axes.set(xlim=(0, thresholds[-1]), ylim=(-0.25 * top, 1.1 * top), title=title)
    axes.set(xlabel="risk from which on one would act", ylabel="net benefit per 100 recordings")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _finish(figure, axes, path, columns=2)


def risk_histogram(
    cases: np.ndarray, controls: np.ndarray, path: Path, *, label: str, title: str
) -> None:
    """Plots how many cases and controls have which predicted risk, cases above.

    The axis is stretched at both ends (log-odds), since most risks of a rare condition are small.

    Args:
      cases: log-odds of the risks of cases, [case].
      controls: those of controls, [control].
      path: the PNG file.
      label: name of the condition.
      title: title of the picture.
    """
    figure = Figure(figsize=SIZE, layout="constrained")
    both = np.concatenate([cases, controls])
    low = max(float(both.min()), -_ODDS_LIMIT) - 0.25
    high = min(float(both.max()), _ODDS_LIMIT) + 0.25
    bins = np.linspace(low, high, _BARS + 1)
    above, below = figure.subplots(2, 1, sharex=True)
    groups = ((label, cases, "vermilion"), ("otherwise", controls, "blue"))
    for axes, (name, odds, colour) in zip((above, below), groups, strict=True):
        clipped = np.clip(odds, low, high)
        axes.hist(clipped, bins, color=plots.OKABE_ITO[colour], edgecolor="white", linewidth=0.4)
        axes.set_ylabel("recordings")
        axes.set_title(f"labelled {name}: {len(odds):,}", fontsize=10, loc="left")
        plots.tidy(axes)
    shown = [tick for tick in _RISK_TICKS if low <= _odds(tick) <= high]
    labels = [_percent(tick) for tick in shown]
    below.set_xticks([_odds(tick) for tick in shown], labels, fontsize=8)
    below.set_xlabel("predicted risk")
    figure.suptitle(title)
    save_figure(figure, path, dpi=_DPI)


def _odds(risk: float) -> float:
    return float(np.log(risk / (1 - risk)))


def _percent(risk: float) -> str:
    return f"{100 * risk:.6g} %"


def _finish(figure: Figure, axes: Axes, path: Path, *, columns: int) -> None:
    plots.tidy(axes)
    figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    save_figure(figure, path, dpi=_DPI)
