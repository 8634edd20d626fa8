"""Plots written as PNG: loss curves, maps of embeddings, and low-label curves."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from ecgjax.errors import InputError
from ecgjax.evaluate.figure_file import save_figure
from ecgjax.evaluate.low_label_table import Row

OKABE_ITO = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky blue": "#56B4E9",
    "black": "#000000",
}
"""Palette of Okabe & Ito (2008), distinguishable with all kinds of colour vision."""
_GREY = "#BBBBBB"


def loss_curve(
    steps: Sequence[float],
    values: Sequence[float],
    path: Path,
    *,
    accuracy: Sequence[float] | None = None,
) -> None:
    """Plots the loss, and the accuracy if given, against steps.

    Shows the logged values and their running mean over 5 % of the log.

    Raises:
      InputError: there are no steps.
    """
    if not len(steps):
        raise InputError(f"{path}: no step was logged, so there is no loss curve; train longer")
    panels = {"loss": values} if accuracy is None else {"loss": values, "accuracy": accuracy}
    figure = Figure(figsize=(7, 1 + 3 * len(panels)), layout="constrained")
    for i, (name, logged) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        marker = "o" if len(steps) < 3 else None  # a line with one point would be invisible
        axes.plot(steps, logged, color=_GREY, linewidth=0.8, marker=marker, label="logged")
        smooth = _running_mean(np.asarray(logged, float))
        axes.plot(steps, smooth, color=OKABE_ITO["blue"], linewidth=1.8, label="smoothed")
        axes.set(xlabel="step", ylabel=name)
        if len(steps) > 1:
            axes.set_xlim(min(steps), max(steps))
        tidy(axes)
    figure.axes[0].legend(frameon=False)
    save_figure(figure, path, dpi=130)


def _running_mean(values: np.ndarray) -> np.ndarray:
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def reduce_to_2d(
    embeddings: np.ndarray, *, limit: int = 1500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Reduces embeddings to two dimensions, by principal components and then t-SNE.

    Args:
      embeddings: [recording, feature].
      limit: maximum number of points; of more recordings, this many are drawn at random.
      seed: random seed of the draw and of t-SNE.

    Returns:
      Sorted indices of the recordings shown, [point], and their coordinates, [point, 2].

    Raises:
      InputError: there are fewer than four embeddings.
    """
    if len(embeddings) < 4:
        raise InputError(f"{len(embeddings)} embeddings are too few for a map; give four or more")
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
    path: Path | BinaryIO,
    *,
    title: str = "",
    patients: np.ndarray | None = None,
    joined: int = 8,
) -> None:
    """Plots points coloured by condition: the most common in grey, the rarest on top.

    Args:
      points: coordinates from `reduce_to_2d`, [point, 2].
      conditions: condition of each point, at most eight different ones.
      path: the PNG file, by name or open.
      title: title of the plot.
      patients: patient of each point; lines join the recordings of the same patient.
      joined: number of patients whose recordings are joined, the first with several recordings.

    Raises:
      InputError: there are more than eight conditions.
    """
    colours = (_GREY, *OKABE_ITO.values())
    counts = Counter(conditions).most_common()
    if len(counts) > len(colours):
        raise InputError(
            f"{path}: {len(counts)} conditions for {len(colours)} colours; merge some conditions"
        )
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    for rank, ((name, count), colour) in enumerate(zip(counts, colours, strict=False)):
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
    save_figure(figure, path, dpi=130)


def _visits(patients: Iterable, number: int) -> list[list[int]]:
    """Returns the points of each of the first `number` patients with several recordings."""
    visits: dict[object, list[int]] = {}
    for point, patient in enumerate(patients):
        visits.setdefault(patient, []).append(point)
    return [points for points in visits.values() if len(points) > 1][:number]


_METHODS = {
    "finetuned": ("pre-trained, fine-tuned", OKABE_ITO["vermilion"]),
    "frozen": ("pre-trained, frozen", OKABE_ITO["blue"]),
    "scratch": ("trained from scratch", OKABE_ITO["green"]),
    "random": ("random, frozen", "#777777"),
    "mean_pool": ("pre-trained, mean-pooled tokens", OKABE_ITO["sky blue"]),
    "attention": ("pre-trained, query attention", OKABE_ITO["orange"]),
}


def method_style(method: str) -> tuple[str, str]:
    """Returns the name and the colour of a method of the benchmark; other methods are purple."""
    return _METHODS.get(method, (method, OKABE_ITO["purple"]))


def low_label_curves(rows: Sequence[Row], path: Path) -> None:
    """Plots macro AUROC with its interval against the number of labels.

    There is one panel for each task and one line for each method. Of several tests the first one is
    shown.
    """
    rows = [row for row in rows if row.test == rows[0].test]
    tasks = list(dict.fromkeys(row.task for row in rows))
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    figure = Figure(figsize=(1 + 4 * columns, 0.8 + 3.2 * lines), layout="constrained")
    for i, task in enumerate(tasks):
        axes = figure.add_subplot(lines, columns, i + 1)
        shown = [row for row in rows if row.task == task]
        _draw_task(axes, shown)
        is_first = i % columns == 0 or shown[0].metric != rows[0].metric
        label = shown[0].metric if is_first else None
        axes.set(title=task, xlabel="labelled recordings", ylabel=label)
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
    save_figure(figure, path, dpi=130)


def _draw_task(axes: Axes, rows: Sequence[Row]) -> None:
    methods = list(dict.fromkeys(row.way for row in rows))
    for number, method in enumerate(methods):
        name, colour = method_style(method)
        line = sorted((row for row in rows if row.way == method), key=lambda row: row.labels)
        # Shifted sideways, so that the intervals of the methods do not overlap.
        labels = [row.labels * 1.03 ** (number - (len(methods) - 1) / 2) for row in line]
        axes.plot(labels, [row.auroc for row in line], "o-", color=colour, markersize=4, label=name)
        low = [row.low for row in line]
        high = [row.high for row in line]
        axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(labels, low, high, colors=colour, linewidth=1)
    ticks = sorted({row.labels for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n / 1000:.3g}k" if n >= 1000 else str(n) for n in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    tidy(axes)


def tidy(axes: Axes) -> None:
    """Removes the frame but for both axes, and draws a light grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.7)
    axes.set_axisbelow(True)
