"""Benchmarks of ecgjax against the tools that it replaces: `python -m benchmarks`.

A benchmark is a module with a function `measure(inputs) -> rows`. Its docstring explains the
comparison. A row is a dict {"what": name, figures with their units in their names}; `FIGURE` names
the figure to plot. A row without a measurement has the reason under "skipped".
"""

import dataclasses
from pathlib import Path

NAMES = ("input_path", "conversion", "memory", "pairing", "training")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Folders that a benchmark uses."""

    scratch: Path
    """Folder for temporary files; it is removed afterwards."""
    data: Path | None = None
    """Prepared data set to read instead of random walks."""
    source: Path | None = None
    """Folder of PTB-XL."""
