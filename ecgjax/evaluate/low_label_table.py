"""Results of the low-label benchmark as rows, lines on the screen, CSV and Markdown."""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.evaluate.bootstrap import Bootstrap
from ecgjax.evaluate.scores import MAIN_METRIC, main_metric
from ecgjax.evaluate.tasks import Task


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of benchmark.csv: a metric with its 95 % interval, and the gain over `random`."""

    task: str
    labels: int
    way: str
    """Method: frozen, random, scratch or finetuned."""
    auroc: float
    """Mean of `metric` over the classes or numbers; the column is older than other metrics."""
    low: float
    high: float
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    test: str = "test"
    """Split, or name of another data set."""
    metric: str = "AUROC"
    """AUROC, or R2 for numbers."""

    def __str__(self) -> str:
        interval = f"{self.auroc:.3f} ({self.low:.3f}-{self.high:.3f})"
        result = f"{self.task:12}{self.labels:>7}  {self.way:10}{interval}  {self.test}"
        return result if self.gain is None else f"{result}   {self.gain_interval()} over random"

    def gain_interval(self) -> str:
        """Returns the gain over the random encoder with its interval, as text."""
        return f"{self.gain:+.3f} ({self.gain_low:+.3f} to {self.gain_high:+.3f})"


def make_row(task: Task, labels: int, method: str, bootstrap: Bootstrap, test: str) -> Row:
    """Returns the result of one method with so many labels on one test."""
    own = bootstrap.macro(method)
    if method == "random":
        gains = (None, None, None)
    else:
        gain = bootstrap.macro(method, minus="random")
        gains = (gain.value, gain.low, gain.high)
    return Row(
        task.name,
        labels,
        method,
        own.value,
        own.low,
        own.high,
        *gains,
        test,
        MAIN_METRIC[task.outputs.kind],
    )


def seed_rows(
    task: Task, labels: int, test: str, truth: np.ndarray, scores: dict[str, np.ndarray]
) -> Iterator[dict]:
    """Yields the lines of per_seed.csv: AUROC, or R2 of numbers, by method, seed and class.

    Args:
      task: the task.
      labels: number of labelled recordings.
      test: name of the test.
      truth: targets, [recording, output].
      scores: scores of each method, [seed, recording, class].
    """
    for method, stack in scores.items():
        for seed, one_seed in enumerate(stack):
            values = main_metric(task.outputs.kind, truth, one_seed)
            for name, value in zip(task.outputs.names, values, strict=True):
                yield {
                    "task": task.name,
                    "labels": labels,
                    "way": method,
                    "seed": seed,
                    "class": name,
                    "auroc": value,
                    "test": test,
                }


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Writes rows with equal keys; the keys are the header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table with a line for each test, task and number of labels.

    There is a column for each method, and one for the tests if there are several.
    """
    methods = list(dict.fromkeys(row.way for row in rows))
    several = len({row.test for row in rows}) > 1
    has_metric = any(row.metric != "AUROC" for row in rows)
    header = ["task", "labels", *["tested on"] * several, *["metric"] * has_metric, *methods]
    header.append("frozen - random")
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    for key in dict.fromkeys((row.task, row.labels, row.test) for row in rows):
        results = {row.way: row for row in rows if (row.task, row.labels, row.test) == key}
        task, labels, test = key
        cells = [f"{results[name].auroc:.3f}" if name in results else "" for name in methods]
        gain = results["frozen"].gain_interval()
        metric = [results["frozen"].metric] * has_metric
        line = [task, f"{labels:,}", *[test] * several, *metric, *cells, gain]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines) + "\n"
