"""Results of the low-label benchmark as rows, lines on the screen, CSV and Markdown."""

import csv
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.evaluate.bootstrap import Interval
from ecgjax.evaluate.label_draws import LabelDraws
from ecgjax.evaluate.scores import MAIN_METRIC
from ecgjax.evaluate.tasks import Task
from ecgjax.whole_files import replaced

CLEAN = 10
"""Cases in the test from which on a class counts in the clean mean; with fewer, AUROC is chance."""

Gain = tuple[float | None, float | None, float | None]
"""Difference from a baseline and its interval; None without a baseline."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of benchmark.csv: a metric with its 95 % interval, and the gains over baselines."""

    task: str
    labels: int
    way: str
    """Method: frozen, random, scratch, finetuned or another name."""
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
    draws: int = 1
    """Number of draws of labelled recordings; the interval covers their variation, too."""
    classes: int = 1
    """Number of classes or numbers that the mean is over."""
    clean: float | None = None
    """Mean over the classes with at least `CLEAN` cases in the test, if there are any."""
    clean_classes: int = 0
    """Number of these classes."""
    over_scratch: float | None = None
    """Gain over training from scratch, paired by draw if there are equally many; None if that was
    not run."""
    over_scratch_low: float | None = None
    over_scratch_high: float | None = None

    def __str__(self) -> str:
        interval = Interval(self.auroc, self.low, self.high).text()
        line = f"{self.task:12}{self.labels:>7}  {self.way:10}{interval}  {self.test}"
        gains = [f"{self.gain_interval()} over random"] if self.gain is not None else []
        if over_scratch := self.over_scratch_interval():
            gains.append(f"{over_scratch} over scratch")
        return f"{line}   {', '.join(gains)}".rstrip()

    def gain_interval(self) -> str:
        """Returns the gain over the random encoder with its interval, "" without one."""
        return _signed(self.gain, self.gain_low, self.gain_high)

    def over_scratch_interval(self) -> str:
        """Returns the gain over training from scratch with its interval, "" without one."""
        return _signed(self.over_scratch, self.over_scratch_low, self.over_scratch_high)


def _signed(value: float | None, low: float | None, high: float | None) -> str:
    """Returns a difference with its interval as text, "" if there is none."""
    if value is None or low is None or high is None:
        return ""
    return Interval(value, low, high).text(signed=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """Scores of all methods on one test, measured."""

    task: Task
    labels: int
    """Number of labelled recordings."""
    test: str
    """Split, or name of another data set."""
    measured: LabelDraws
    """Main metric of each method with each draw of labels."""
    cases: np.ndarray
    """Number of cases of each class in the test, [class]; 0 for numbers."""

    @classmethod
    def measure(
        cls,
        task: Task,
        labels: int,
        test: str,
        truth: np.ndarray,
        patients: np.ndarray,
        scores: dict[str, np.ndarray],
    ) -> "Result":
        """Measures scores.

        Args:
          task: the task.
          labels: number of labelled recordings.
          test: name of the test.
          truth: targets, [recording, class].
          patients: patient of each recording, [recording].
          scores: scores of each method, [draw, recording, class].
        """
        kind = task.outputs.kind
        cases = np.equal(truth, 1).sum(axis=0) * (kind != "numbers")
        return cls(task, labels, test, LabelDraws.measure(kind, truth, scores, patients), cases)

    def rows(self) -> Iterator[Row]:
        """Yields the line of each method."""
        metric = self._metric
        for method, values in self.measured.values.items():
            own = self.measured.macro(method).within(self._least, 1.0)
            over, over_low, over_high = self._gain(method, "scratch")
            defined = self.measured.defined(method)
            clean = (self.cases >= CLEAN) & defined
            yield Row(
                self.task.name,
                self.labels,
                method,
                own.value,
                own.low,
                own.high,
                *self._gain(method, "random"),
                self.test,
                metric,
                draws=len(values),
                classes=int(defined.sum()),
                clean=self.measured.macro(method, among=clean).value if clean.any() else None,
                clean_classes=int(clean.sum()),
                over_scratch=over,
                over_scratch_low=over_low,
                over_scratch_high=over_high,
            )

    def _gain(self, method: str, baseline: str) -> Gain:
        """Returns the difference of a method from a baseline."""
        if not self._is_compared(method, baseline):
            return None, None, None
        gain = self.measured.macro(method, minus=baseline)
        return gain.value, gain.low, gain.high

    def _is_compared(self, method: str, baseline: str) -> bool:
        return method not in (baseline, "random") and baseline in self.measured.values

    @property
    def _metric(self) -> str:
        return MAIN_METRIC[self.task.outputs.kind]

    @property
    def _least(self) -> float:
        """Returns the smallest value that the metric can have."""
        return 0.0 if self._metric == "AUROC" else -math.inf

    def class_rows(self) -> Iterator[dict]:
        """Yields the lines of per_class.csv: intervals of each class, as `rows` has of the mean."""
        for method in self.measured.values:
            columns = {"": self.measured.per_class(method)}
            for name, baseline in (("gain", "random"), ("over_scratch", "scratch")):
                if self._is_compared(method, baseline):
                    columns[name] = self.measured.per_class(method, minus=baseline)
            for number, name in enumerate(self.task.outputs.names):
                own = columns[""][number].within(self._least, 1.0)
                row = {"task": self.task.name, "labels": self.labels, "class": name, "way": method}
                row |= {"auroc": own.value, "low": own.low, "high": own.high}
                for column in ("gain", "over_scratch"):
                    found = columns[column][number] if column in columns else None
                    row[column] = found and found.value
                    row[f"{column}_low"] = found and found.low
                    row[f"{column}_high"] = found and found.high
                cases = int(self.cases[number])
                yield {**row, "cases": cases, "test": self.test, "metric": self._metric}

    def seed_rows(self) -> Iterator[dict]:
        """Yields the lines of per_seed.csv: the metric by method, seed and class."""
        for method, each in self.measured.values.items():
            for seed, values in enumerate(each):
                for name, value in zip(self.task.outputs.names, values, strict=True):
                    yield {
                        "task": self.task.name,
                        "labels": self.labels,
                        "way": method,
                        "seed": seed,
                        "class": name,
                        "auroc": value,
                        "test": self.test,
                    }


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Writes rows with equal keys, which are the header. A killed process leaves no half file."""
    with replaced(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads the rows that `write_csv` wrote; their values are text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def markdown(rows: Sequence[Row]) -> str:
    """Returns a table with a line for each test, task and number of labels.

    There is a column for each method, and one for the tests if there are several. If some classes
    are too rare for the clean mean, there is a column with the numbers of classes, and each method
    has both means. If encoders were fine-tuned and trained from scratch, the last column compares
    them.
    """
    methods = list(dict.fromkeys(row.way for row in rows))
    several = len({row.test for row in rows}) > 1
    has_metric = any(row.metric != "AUROC" for row in rows)
    has_rare = any(0 < row.clean_classes < row.classes for row in rows)
    header = ["task", "labels", "draws", *["tested on"] * several, *["metric"] * has_metric]
    compares = any(row.way == "finetuned" and row.over_scratch is not None for row in rows)
    header += [*["classes (clean)"] * has_rare, *methods, "frozen - random"]
    header += ["finetuned - scratch"] * compares
    lines = [f"| {' | '.join(header)} |", "| --- " * len(header) + "|"]
    for key in dict.fromkeys((row.task, row.labels, row.test) for row in rows):
        results = {row.way: row for row in rows if (row.task, row.labels, row.test) == key}
        task, labels, test = key
        frozen = results["frozen"]
        cells = [_cell(results[name], has_rare) if name in results else "" for name in methods]
        metric = [frozen.metric] * has_metric
        classes = [f"{frozen.classes} ({frozen.clean_classes})"] * has_rare
        line = [task, f"{labels:,}", str(frozen.draws), *[test] * several, *metric, *classes]
        gains = [frozen.gain_interval()]
        if compares:
            tuned = results.get("finetuned")
            gains.append(tuned.over_scratch_interval() if tuned else "")
        lines.append(f"| {' | '.join([*line, *cells, *gains])} |")
    note = f"\nIn brackets: classes with at least {CLEAN} cases in the test.\n" if has_rare else ""
    return "\n".join(lines) + "\n" + note


def _cell(row: Row, has_rare: bool) -> str:
    clean = f" ({row.clean:.3f})" if has_rare and row.clean is not None else ""
    return f"{row.auroc:.3f}{clean}"
