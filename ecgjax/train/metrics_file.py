"""The files that a run can be read from without its checkpoints: metrics.jsonl, run.json."""

import json
import os
from pathlib import Path

METRICS = "metrics.jsonl"
"""File of the log: one JSON object for each line, {"step": ..., "loss": ..., ...}."""
RUN = "run.json"
"""File with the title, the number of steps and the config of a run."""


def read_lines(workdir: Path) -> tuple[list[dict], list[int]]:
    """Reads the log of a run.

    Returns:
      The log lines, oldest first, and the numbers of the damaged lines, from 1. A last line without
      its end is neither: a process was killed while it wrote, or is writing it now.
    """
    path = workdir / METRICS
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    lines = []
    damaged = []
    for number, text_line in enumerate(text.split("\n")[:-1], 1):
        line = _parse(text_line)
        if line is not None:
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
    return line if all(_is_value(value) for value in line.values()) else None


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, int | float | str)


def replace_text(path: Path, text: str) -> None:
    """Writes a file beside and renames it, so that `path` is never half written."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    with unfinished.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
