"""Pictures, written as PNG: ECG sheets on graph paper, loss curves, maps of embeddings, low-label curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING

if TYPE_CHECKING:
    from ecgjax.workflows.benchmark import Row

# Okabe and Ito's colours (2008), told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY, _PAPER = "#BBBBBB", "#FFFAF8"

# An ECG sheet is laid out in millimetres of paper; multiples of 5 put baselines on the thick lines.
_MM_PER_INCH, _MM_PER_S, _MM_PER_MV, _DOTS_PER_MM = 25.4, 25.0, 10.0, 6
_SHEET_S = 10.0
_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 15.0, 5.0, 15.0, 10.0, 30.0
_WIDTH = _LEFT + _SHEET_S * _MM_PER_S + _RIGHT
_HEIGHT = _TOP + len(_ROWS) * _ROW + _BOTTOM


def ecg_sheet(
    signals: Sequence[np.ndarray], path: Path, *, rate_hz: float, titles: Sequence[str]
) -> None:
    """Standard 12-lead sheets, one below the other: 3 x 4 leads of 2.5 s above 10 s of lead II.

    At the size that the PNG states, the scale is 25 mm/s and 10 mm/mV. The columns follow each other in time,
    in step with the rhythm strip. Each lead is centred on its median; a missing sample is a gap.

    Args:
      signals: stored recordings, int16 [time, lead]; what lies beyond 10 s is not drawn.
      path: of the PNG.
      rate_hz: sampling rate, in Hz.
      titles: one a recording, of one or two lines: patient, date, age and sex, statements.
    """
    size = (_WIDTH / _MM_PER_INCH, len(signals) * _HEIGHT / _MM_PER_INCH)
    figure = Figure(figsize=size, facecolor=_PAPER)
    for i, (signal, title) in enumerate(zip(signals, titles, strict=True)):
        if np.ndim(signal) != 2 or np.shape(signal)[1] != len(LEADS):
            raise InputError(
                f"{title}: signal has shape {np.shape(signal)}; give [time, {len(LEADS)} leads]"
            )
        axes = figure.add_axes((0, 1 - (i + 1) / len(signals), 1, 1 / len(signals)))
        axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
        axes.axis("off")
        _draw_paper(axes)
        _draw_leads(axes, signal, rate_hz)
        axes.text(
            _LEFT, _HEIGHT - 2.5, title, va="top", fontsize=10, fontweight="bold", linespacing=1.3
        )
        scale = f"25 mm/s   10 mm/mV   small square 0.04 s, 0.1 mV   sampled at {rate_hz:g} Hz"
        axes.text(_LEFT, _BOTTOM - 2.5, scale, va="top", fontsize=8)
    figure.savefig(path, dpi=_DOTS_PER_MM * _MM_PER_INCH)


def _draw_paper(axes: Axes) -> None:
    top = _HEIGHT - _TOP
    for spacing, colour, width in ((1, "#F7D5CE", 0.4), (5, "#E9A79B", 0.7)):
        upright = [[(x, _BOTTOM), (x, top)] for x in np.arange(0, _WIDTH + 1, spacing)]
        level = [[(0, y), (_WIDTH, y)] for y in np.arange(_BOTTOM, top + 1, spacing)]
        axes.add_collection(
            LineCollection(upright + level, colors=colour, linewidths=width, zorder=1)
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
            # In another colour and below the trace: a tall beat hides neither its peak nor the name.
            above = baseline + 11.5
            axes.text(
                left + 1, above, name, fontsize=9, fontweight="bold", color="#1F4E9C", zorder=1.5
            )
            axes.plot([left, left], [baseline - 4, baseline + 4], "k", linewidth=0.5)


def loss_curve(
    steps: Sequence[float],
    values: Sequence[float],
    path: Path,
    *,
    accuracy: Sequence[float] | None = None,
) -> None:
    """Loss, and accuracy if given, against steps: as logged, and as a running mean over 5 % of the log."""
    if not len(steps):
        raise InputError(f"{path}: no step has been logged, there is no loss curve to draw")
    panels = {"loss": values} if accuracy is None else {"loss": values, "accuracy": accuracy}
    figure = Figure(figsize=(7, 1 + 3 * len(panels)), layout="constrained")
    for i, (name, logged) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        marker = "o" if len(steps) < 3 else None  # a line of one point is not seen
        axes.plot(steps, logged, color=_GREY, linewidth=0.8, marker=marker, label="logged")
        smooth = _running_mean(np.asarray(logged, float))
        axes.plot(steps, smooth, color=_COLOURS[0], linewidth=1.8, label="smoothed")
        axes.set(
            xlabel="step", ylabel=name, xlim=(min(steps), max(steps)) if len(steps) > 1 else None
        )
        _tidy(axes)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)


def _running_mean(values: np.ndarray) -> np.ndarray:
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def reduce_to_2d(
    embeddings: np.ndarray, *, limit: int = 1500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points that lie together where embeddings are alike: principal components, then t-SNE.

    Args:
      embeddings: [recording, feature].
      limit: number of recordings; where there are more, that many are drawn at random.
      seed: of the draw and of t-SNE.

    Returns:
      Sorted indices of the recordings shown, [point], and where they are, [point, 2].
    """
    if len(embeddings) < 4:
        raise InputError(f"{len(embeddings)} embeddings do not make a map; give four or more")
    rng = np.random.default_rng(seed)
    shown = np.sort(rng.permutation(len(embeddings))[:limit])
    components = min(50, len(shown), embeddings.shape[1])
    reduced = PCA(components, random_state=seed).fit_transform(embeddings[shown])
    perplexity = min(30.0, (len(shown) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed)
    return shown, tsne.fit_transform(reduced)


def embedding_map(
    points: np.ndarray,
    conditions: Sequence[str],
    path: Path,
    *,
    title: str = "",
    patients: np.ndarray | None = None,
    joined: int = 8,
) -> None:
    """Points coloured by condition: the commonest in grey at the bottom, the rarest on top.

    Args:
      points: as `reduce_to_2d` gives them, [point, 2].
      conditions: one a point, eight different ones at most.
      path: of the PNG.
      title: of the picture.
      patients: of each point; the recordings of a few patients with several are joined by lines.
      joined: number of those patients.
    """
    counts = Counter(conditions).most_common()
    if len(counts) > len(_COLOURS) + 1:
        raise InputError(
            f"{path}: {len(counts)} conditions for {len(_COLOURS) + 1} colours; merge some"
        )
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    for rank, ((name, count), colour) in enumerate(zip(counts, (_GREY, *_COLOURS), strict=False)):
        chosen = np.array([condition == name for condition in conditions])
        label = f"{name} ({count})"
        size = 10 + 4 * rank
        axes.scatter(
            *points[chosen].T, s=size, color=colour, label=label, linewidths=0, zorder=2 + rank
        )
    for i, line in enumerate(_visits(patients, joined) if patients is not None else ()):
        label = None if i else "same patient"
        axes.plot(
            *points[line].T, "k-o", lw=0.8, ms=5, markerfacecolor="none", label=label, zorder=20
        )
    axes.set(xticks=[], yticks=[], title=title)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False, markerscale=1.5)
    figure.savefig(path, dpi=130)


def _visits(patients: Iterable, number: int) -> list[list[int]]:
    """Places of the recordings of the first `number` patients who have several."""
    places: dict[object, list[int]] = {}
    for place, patient in enumerate(patients):
        places.setdefault(patient, []).append(place)
    return [visits for visits in places.values() if len(visits) > 1][:number]


_WAYS = {
    "finetuned": ("pre-trained, fine-tuned", _COLOURS[1]),
    "frozen": ("pre-trained, frozen", _COLOURS[0]),
    "scratch": ("trained from scratch", _COLOURS[2]),
    "random": ("random, frozen", "#777777"),
}


def low_label_curves(rows: Sequence[Row], path: Path) -> None:
    """Macro AUROC with its interval against the number of labels: a panel a task, a line a way."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    figure = Figure(figsize=(1 + 4 * columns, 0.8 + 3.2 * lines), layout="constrained")
    for i, task in enumerate(tasks):
        axes = figure.add_subplot(lines, columns, i + 1)
        _draw_task(axes, [row for row in rows if row.task == task])
        axes.set(
            title=task, xlabel="labelled recordings", ylabel="AUROC" if i % columns == 0 else None
        )
    legend = {}
    for axes in figure.axes:
        legend |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    columns = min(4, 2 * columns)
    figure.legend(
        list(legend.values()),
        list(legend),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    figure.savefig(path, dpi=130)


def _draw_task(axes: Axes, rows: Sequence[Row]) -> None:
    ways = list(dict.fromkeys(row.way for row in rows))
    for number, way in enumerate(ways):
        name, colour = _WAYS[way]
        line = sorted((row for row in rows if row.way == way), key=lambda row: row.labels)
        # Beside each other, or intervals could not be told apart.
        labels = [row.labels * 1.03 ** (number - (len(ways) - 1) / 2) for row in line]
        axes.plot(labels, [row.auroc for row in line], "o-", color=colour, markersize=4, label=name)
        low, high = [row.low for row in line], [row.high for row in line]
        axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(labels, low, high, colors=colour, linewidth=1)
    ticks = sorted({row.labels for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n / 1000:.3g}k" if n >= 1000 else str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
