"""What ecgjax costs, measured side by side with what it replaces: `python -m benchmarks`.

A benchmark is a module with `measure(given) -> rows`: its docstring says what is compared with what, each row is a dict
{"what": ..., figures with their units in their names}, and `FIGURE` names the one to draw. A row that could not be
measured says why under "skipped".
"""

import dataclasses
from pathlib import Path

NAMES = ("input_path", "conversion", "memory", "pairing", "training")


@dataclasses.dataclass(frozen=True)
class Given:
    """What a benchmark may use."""

    scratch: Path
    """A folder to write to; it is removed afterwards."""
    data: Path | None = None
    """A prepared data set to read instead of random walks."""
    source: Path | None = None
    """PTB-XL's folder."""
