"""Thumbnails of recordings for report.html, as SVG within the page."""

import numpy as np

from ecgjax.signals import LEADS, MISSING

POINTS = 240
"""Points per lead: the lowest and the highest sample of 120 intervals, so that no spike is lost."""
DRAWN = 4
"""Thumbnails in report.html for each rejection reason and each kind of flag."""
WIDTH = 300
"""Width of a lead, in pixels."""
HEIGHT = 24
"""Height of a lead, in pixels."""
LABEL = 28
"""Width of the column of lead names, in pixels."""


def shrink(signal: np.ndarray) -> np.ndarray:
    """Returns int16 [POINTS or fewer, 12] that looks like the stored recording [time, 12]."""
    if len(signal) <= POINTS:
        return signal
    starts = np.linspace(0, len(signal), POINTS // 2 + 1).astype(int)[:-1]
    missing = np.logical_and.reduceat(signal == MISSING, starts, axis=0)
    lowest = np.minimum.reduceat(np.where(signal == MISSING, 32767, signal), starts, axis=0)
    highest = np.maximum.reduceat(np.where(signal == MISSING, -32767, signal), starts, axis=0)
    pairs = np.stack(
        [np.where(missing, MISSING, lowest), np.where(missing, MISSING, highest)], axis=1
    )
    return pairs.reshape(-1, signal.shape[1]).astype(np.int16)


def svg(small: np.ndarray) -> str:
    """Draws twelve leads below each other, scaled so that the highest lead fills its row."""
    valid = small != MISSING
    pairs = zip(small.T, valid.T, strict=True)
    centre = np.array([np.median(lead[mask]) if mask.any() else 0 for lead, mask in pairs])
    reach_uv = max(100.0, float(np.abs(np.where(valid, small - centre, 0)).max()))
    rows = "".join(
        _row(index, small[:, index], centre[index], reach_uv) for index in range(len(LEADS))
    )
    scale = f'<text x="0" y="{12 * HEIGHT + 10}">half a row is {reach_uv / 1000:.2g} mV</text>'
    return f'<svg viewBox="0 0 {LABEL + WIDTH} {12 * HEIGHT + 12}" class="ecg">{rows}{scale}</svg>'


def _row(index: int, lead: np.ndarray, centre: float, reach_uv: float) -> str:
    middle = (index + 0.5) * HEIGHT
    x = LABEL + np.arange(len(lead)) * WIDTH / max(1, len(lead) - 1)
    y = middle - (lead - centre) / reach_uv * HEIGHT / 2
    path = []
    pen_up = True
    for valid, right, down in zip(lead != MISSING, x, y, strict=True):
        if valid:
            path.append(f"{'M' if pen_up else 'L'}{right:.0f} {down:.1f}")
        pen_up = not valid
    return f'<text x="0" y="{middle + 4:.0f}">{LEADS[index]}</text><path d="{"".join(path)}"/>'
