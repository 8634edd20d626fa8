"""Column charts as SVG within a page."""

import html
from collections.abc import Mapping

COLUMN = 40
"""Width of a column with its gap, in pixels."""
HEIGHT = 90
"""Height of the highest column, in pixels."""
LABELS = 34
"""Height of the labels above and below the columns together, in pixels."""


def columns(title: str, counts: Mapping[str, int]) -> str:
    """Returns a figure with one column for each count, labelled with its key and its value."""
    highest = max(counts.values(), default=0)
    bars = "".join(
        _column(index, name, count, highest) for index, (name, count) in enumerate(counts.items())
    )
    box = f"0 0 {max(1, len(counts)) * COLUMN} {HEIGHT + LABELS}"
    svg = f'<svg viewBox="{box}" style="width:{len(counts) * 2.8:.1f}em">{bars}</svg>'
    return f'<figure class="chart"><figcaption>{html.escape(title)}</figcaption>{svg}</figure>'


def _column(index: int, name: str, count: int, highest: int) -> str:
    height = HEIGHT * count / highest if highest else 0
    top = 16 + HEIGHT - height
    middle = (index + 0.5) * COLUMN
    bar = (
        f'<rect x="{index * COLUMN + 3}" y="{top:.1f}" width="{COLUMN - 6}" height="{height:.1f}"/>'
    )
    value = f'<text x="{middle}" y="{top - 3:.1f}">{count:,}</text>' if count else ""
    label = f'<text x="{middle}" y="{HEIGHT + 28}">{html.escape(name)}</text>'
    return bar + value + label
