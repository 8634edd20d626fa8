"""Results of the low-label benchmark as rows, lines on the screen, CSV and Markdown."""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.evaluate.metrics import Bootstrap, auroc
from ecgjax.evaluate.tasks import Task


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of benchmark.csv: macro AUROC with its 95 % interval, and the gain over `random`."""

    task: str
    labels: int
    way: str
    """Method: frozen, random, scratch or finetuned."""
    auroc: float
    low: float
    high: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None

    def __str__(self) -> str:
        interval = f"{self.auroc:.3f} ({self.low:.3f}-{self.high:.3f})"
        result = f"{self.task:12}{self.labels:>7}  {self.way:10}{interval}"
        return result if self.gain is None else f"{result}   {self.gain_interval()} over random"

    def gain_interval(self) -> str:
        """Returns the gain over the random encoder with its interval, as text."""
        return f"{self.gain:+.3f} ({self.gain_low:+.3f} to {self.gain_high:+.3f})"


def make_row(task: Task, labels: int, method: str, bootstrap: Bootstrap) -> Row:
    """Returns the result of one method with so many labels."""
    own = bootstrap.macro(method)
    if method == "random":
        gains = (None, None, None)
    else:
        gain = bootstrap.macro(method, minus="random")
        gains = (gain.value, gain.low, gain.high)
    return Row(task.name, labels, method, own.value, own.low, own.high, *gains)


def seed_rows(
    task: Task, labels: int, truth: np.ndarray, scores: dict[str, np.ndarray]
) -> Iterator[dict]:
    """Yields the lines of per_seed.csv: AUROC by method, seed and class.

    Args:
      task: the task.
      labels: number of labelled recordings.
      truth: 0 or 1, [recording, class].
      scores: scores of each method, [seed, recording, class].
    """
    for method, stack in scores.items():
        for seed, one_seed in enumerate(stack):
            for name, value in zip(task.classes, auroc(truth, one_seed), strict=True):
                yield {
                    "task": task.name,
                    "labels": labels,
                    "way": method,
                    "seed": seed,
                    "class": name,
                    "auroc": value,
                }


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Writes rows with equal keys; the keys are the header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table: one line for each task and number of labels, one column for each method."""
    methods = list(dict.fromkeys(row.way for row in rows))
    lines = [
        f"| task | labels | {' | '.join(methods)} | frozen - random |",
        "| --- " * (len(methods) + 3) + "|",
    ]
    for task, labels in dict.fromkeys((row.task, row.labels) for row in rows):
        results = {row.way: row for row in rows if (row.task, row.labels) == (task, labels)}
        cells = [f"{results[name].auroc:.3f}" if name in results else "" for name in methods]
        gain = results["frozen"].gain_interval()
        lines.append(f"| {task} | {labels:,} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines) + "\n"
