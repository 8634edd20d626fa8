"""Small drawings of recordings for report.html, as SVG in the page itself."""

import numpy as np

from ecgjax.signals import LEADS, MISSING

POINTS = 240
"""Across a lead: the lowest and the highest sample of each of half as many intervals, so that no spike is lost."""
DRAWN = 4
"""Recordings that report.html draws of each reason to reject one, and of each kind of flag."""
WIDTH, HEIGHT, LABEL = 300, 24, 28
"""Of a lead, and of its name's column, in pixels."""


def shrink(signal: np.ndarray) -> np.ndarray:
    """int16 [POINTS or fewer, 12] that draws like the stored recording [time, 12]."""
    if len(signal) <= POINTS:
        return signal
    edges = np.linspace(0, len(signal), POINTS // 2 + 1).astype(int)[:-1]
    missing = np.logical_and.reduceat(signal == MISSING, edges, axis=0)
    lowest = np.minimum.reduceat(np.where(signal == MISSING, 32767, signal), edges, axis=0)
    highest = np.maximum.reduceat(np.where(signal == MISSING, -32767, signal), edges, axis=0)
    pairs = np.stack(
        [np.where(missing, MISSING, lowest), np.where(missing, MISSING, highest)], axis=1
    )
    return pairs.reshape(-1, signal.shape[1]).astype(np.int16)


def svg(small: np.ndarray) -> str:
    """Twelve leads below each other, at a scale of their own so that the highest lead fills its row."""
    there = small != MISSING
    centre = np.array(
        [
            np.median(lead[kept]) if kept.any() else 0
            for lead, kept in zip(small.T, there.T, strict=True)
        ]
    )
    reach_uv = max(100.0, float(np.abs(np.where(there, small - centre, 0)).max()))
    rows = "".join(
        _row(index, small[:, index], centre[index], reach_uv) for index in range(len(LEADS))
    )
    scale = f'<text x="0" y="{12 * HEIGHT + 10}">half a row is {reach_uv / 1000:.2g} mV</text>'
    return f'<svg viewBox="0 0 {LABEL + WIDTH} {12 * HEIGHT + 12}" class="ecg">{rows}{scale}</svg>'


def _row(index: int, lead: np.ndarray, centre: float, reach_uv: float) -> str:
    middle = (index + 0.5) * HEIGHT
    x = LABEL + np.arange(len(lead)) * WIDTH / max(1, len(lead) - 1)
    y = middle - (lead - centre) / reach_uv * HEIGHT / 2
    path, move = [], True
    for there, across, down in zip(lead != MISSING, x, y, strict=True):
        if there:
            path.append(f"{'M' if move else 'L'}{across:.0f} {down:.1f}")
        move = not there
    return f'<text x="0" y="{middle + 4:.0f}">{LEADS[index]}</text><path d="{"".join(path)}"/>'
