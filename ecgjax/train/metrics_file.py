"""The files that a run can be read from without its checkpoints: metrics.jsonl, run.json."""

import json
import time
from pathlib import Path

from ecgjax.errors import InputError
from ecgjax.train.run_clock import TIMING

METRICS = "metrics.jsonl"
"""File of the log: one JSON object for each line, {"step": ..., "loss": ..., ...}."""
RUN = "run.json"
"""File with the title, the number of steps and the config of a run."""
MOST_BYTES = 500_000_000
"""Size of a log; a million steps with all lines take 300 MB."""
_DATE = "time"
_LARGEST = 1e300


def read_lines(workdir: Path) -> tuple[list[dict], list[int]]:
    """Reads the log of a run.

    Returns:
      The log lines, oldest first, and the numbers of the damaged lines, from 1. A last line without
      its end is neither: a process was killed while it wrote, or is writing it now. A line whose
      step was done again later is left out.

    Raises:
      InputError: the log is no file, or far larger than any log.
    """
    path = workdir / METRICS
    if path.exists() and not (path.is_file() and path.stat().st_size <= MOST_BYTES):
        raise InputError(f"{path}: is not the log of a run; move it away, or give another folder")
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    lines: list[dict] = []
    damaged = []
    for number, text_line in enumerate(text.split("\n")[:-1], 1):
        line = _parse(text_line)
        if line is not None:
            while lines and lines[-1]["step"] >= line["step"]:
                lines.pop()
            lines.append(line)
        elif text_line.strip():
            damaged.append(number)
    return lines, damaged


def _parse(text: str) -> dict | None:
    """Returns a log line, None if it is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    if not 0 <= line["step"] < 2**53:
        return None
    return line if all(_is_value(*entry) for entry in line.items()) else None


def _is_value(name: str, value: object) -> bool:
    if name == _DATE:
        return isinstance(value, str)
    if value is None:  # a figure that is not finite
        return name not in TIMING
    return isinstance(value, int | float) and abs(value) < _LARGEST  # false for NaN


def read_start(workdir: Path, run: dict) -> float | None:
    """Returns when a run was first started, in seconds since 1970; None if it is a new one.

    Args:
      workdir: folder of the run.
      run: its title, num_steps and config, as in run.json.
    """
    try:
        earlier = json.loads((workdir / RUN).read_text(encoding="utf-8"))
        present = json.loads(json.dumps(run))
        is_same = all(earlier.get(name) == value for name, value in present.items())
        start_s = earlier.get("first_start_s")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    if not is_same or not isinstance(start_s, int | float) or not 0 < start_s <= time.time():
        return None
    return float(start_s)
