"""Drawings of recordings on ECG paper: 25 mm/s and 10 mm/mV, as SVG within a page.

Four columns of 2.5 s with three leads each, and ten seconds of lead II below, as carts print them.
A recording with three leads or fewer has one row for each.
"""

from collections.abc import Iterator

import numpy as np

from ecgjax.signals import LEADS, MISSING

MM_PER_S = 25
MM_PER_MV = 10
SECONDS = 10
"""Width of the paper; longer recordings are drawn up to here."""
MARGIN_MM = 10
"""Left margin, for the calibration pulse of 1 mV and 0.2 s."""
ROW_MM = 25
UNITS = 10
"""Units of the drawing per millimetre: coordinates are whole numbers."""
LEAST_RATE_HZ = 200
"""Samples are left out of a drawing down to this rate, 8 points per millimetre."""
WIDTH_MM = MARGIN_MM + SECONDS * MM_PER_S + 5
RHYTHM = "II"

GRID = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    '<pattern id="mm" width="10" height="10" patternUnits="userSpaceOnUse">'
    '<path d="M10 0H0V10" fill="none" stroke="#f3c6c6" stroke-width="1"/></pattern>'
    '<pattern id="grid" width="50" height="50" patternUnits="userSpaceOnUse">'
    '<rect width="50" height="50" fill="url(#mm)"/>'
    '<path d="M50 0H0V50" fill="none" stroke="#e59a9a" stroke-width="2"/></pattern></defs></svg>'
)
"""The grid of millimetres, once in a page with drawings."""


def draw(signal: np.ndarray, rate_hz: float) -> str:
    """Draws a stored recording, int16 [time, 12]; the median of each lead is the middle of its row.

    Args:
      signal: the samples, 1 uV per LSB, MISSING for a missing sample.
      rate_hz: sampling rate, in Hz.
    """
    step = max(1, int(rate_hz // LEAST_RATE_HZ))
    shown = signal[: round(SECONDS * rate_hz) : step]
    x = MARGIN_MM + np.arange(len(shown)) * step / rate_hz * MM_PER_S
    strips = list(_strips(shown, len(shown) * step / rate_hz, rate_hz / step))
    height = ROW_MM * UNITS * (1 + max(row for row, *_ in strips))
    parts = [f'<rect width="100%" height="{height}" fill="url(#grid)"/>']
    for row in range(height // (ROW_MM * UNITS)):
        middle = (row + 0.5) * ROW_MM
        pulse = f"M20 {middle * UNITS:.0f}h15v-{MM_PER_MV * UNITS}h50v{MM_PER_MV * UNITS}h15"
        parts.append(f'<path class="pulse" d="{pulse}"/>')
    for row, lead, start, end in strips:
        column = LEADS.index(lead)
        valid = shown[:, column] != MISSING
        centre = np.median(shown[valid, column]) if valid.any() else 0
        middle = (row + 0.5) * ROW_MM
        y = middle - (shown[start:end, column] - centre) / 1000 * MM_PER_MV
        parts.append(_strip(lead, valid[start:end], x[start:end], y, middle - 7))
    box = f"0 0 {WIDTH_MM * UNITS} {height}"
    return f'<svg viewBox="{box}" class="paper" role="img">{"".join(parts)}</svg>'


def _strips(
    signal: np.ndarray, seconds: float, rate_hz: float
) -> Iterator[tuple[int, str, int, int]]:
    """Yields (row, lead, first sample, sample after the last) of each piece of a lead."""
    present = [
        lead for lead, column in zip(LEADS, signal.T, strict=True) if (column != MISSING).any()
    ]
    if len(present) <= 3:
        for row, lead in enumerate(present or LEADS[:1]):
            yield row, lead, 0, len(signal)
        return
    quarter = round(min(seconds, SECONDS) * rate_hz / 4)
    for index, lead in enumerate(LEADS):
        column, row = divmod(index, 3)
        yield row, lead, column * quarter, (column + 1) * quarter
    yield 3, RHYTHM if RHYTHM in present else present[0], 0, len(signal)


def _strip(lead: str, valid: np.ndarray, x: np.ndarray, y: np.ndarray, label_mm: float) -> str:
    """Draws samples with gaps where they are missing; a strip without any says so."""
    left = x[0] if len(x) else MARGIN_MM
    name = lead if valid.any() else f"{lead}: no samples"
    text = f'<text x="{left * UNITS + 8:.0f}" y="{label_mm * UNITS:.0f}">{name}</text>'
    points = np.rint(np.stack([x, y], axis=1) * UNITS).astype(int)
    edges = np.flatnonzero(np.diff(valid, prepend=False, append=False)).reshape(-1, 2)
    path = "".join(_line(points[start:end]) for start, end in edges)
    return f'{text}<path d="{path}"/>' if path else text


def _line(points: np.ndarray) -> str:
    steps = " ".join(f"{right} {down}" for right, down in np.diff(points, axis=0))
    return f"M{points[0, 0]} {points[0, 1]}l{steps or '1 0'}"
