"""The printed results of `finetune`: figures with intervals for every test."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ecgjax.data.records import SPLITS
from ecgjax.errors import counted
from ecgjax.evaluate.bootstrap import Interval
from ecgjax.workflows.targets import Target

UNDEFINED = "-"
"""Text for a figure that is not defined, such as the AUROC of a class without cases."""


def result_table(target: Target, results: Mapping[str, Any]) -> str:
    """Returns the content of metrics.json as a table.

    Its columns are the splits; with other data sets, its rows are the tests.
    """
    sites = results.get("sites", {})
    tests = {name: results[name] for name in SPLITS if name in results} | sites
    folds = results.get("folds", ())
    recordings = _training_sizes(results, folds, target.adjective)
    title = f"{target.heading}, {recordings} (95 % interval over patients)"
    if folds:
        title += f"\ntest: the predictions of all {len(folds)} folds together"
    lines = _site_lines(target, tests) if sites else _split_lines(target, tests)
    details = [line for name, each in tests.items() for line in target.details(name, each)]
    return "\n".join([title, *lines, *_fold_lines(target, folds), *details])


def _training_sizes(results: Mapping[str, Any], folds: Sequence[Any], adjective: str) -> str:
    """Returns the number of recordings that were trained on, in words."""
    numbers = sorted({fold["labelled"] for fold in folds} or {results["labelled"]})
    fewest = f"{numbers[0]:,} to " if len(numbers) > 1 else ""
    text = fewest + counted(numbers[-1], f"{adjective} recording")
    return f"trained on {text} in each fold" if folds else text


def cell(interval: Sequence[float | None]) -> str:
    """Returns a value with its interval as text."""
    numbers = [math.nan if part is None else part for part in interval]
    value, low, high = numbers
    if any(map(math.isnan, numbers)):
        return UNDEFINED if math.isnan(value) else f"{value:.3f}"
    return Interval(value, low, high).text()


def _split_lines(target: Target, tests: Mapping[str, Any]) -> list[str]:
    """Returns a line for each figure, with a column for each split."""
    columns = [target.table_rows(figures) for figures in tests.values()]
    width = max(target.name_width, *(len(name) + 2 for name in columns[0]))
    rows = {name: [cell(column[name]) for column in columns] for name in columns[0]}
    cell_width = max(26, *(len(text) + 2 for row in rows.values() for text in row))
    rows = {"": list(tests), **rows}
    return [
        f"{name:{width}}" + "".join(f"{text:>{cell_width}}" for text in row)
        for name, row in rows.items()
    ]


def _site_lines(target: Target, tests: Mapping[str, Any]) -> list[str]:
    """Returns a line for each figure of each test, after the size of the test."""
    rows = [["", "recordings", "patients", "", "cases", target.metric]]
    for test, figures in tests.items():
        size = [test, f"{figures['recordings']:,}", f"{figures['patients']:,}"]
        cases = figures.get("cases", {})
        for name, interval in target.table_rows(figures).items():
            number = f"{cases[name]:,}" if name in cases else ""
            rows.append([*size, name, number, cell(interval)])
            size = ["", "", ""]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    left = {0, 3}
    return [
        "  ".join(
            f"{text:<{width}}" if column in left else f"{text:>{width}}"
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _fold_lines(target: Target, folds: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a line for each fold with its first figure."""
    lines = []
    values: dict[str, list[float]] = {}
    for number, figures in enumerate(folds, 1):
        name, interval = next(iter(target.table_rows(figures).items()))
        if cell(interval) != UNDEFINED:
            values.setdefault(name, []).append(interval[0])
        recordings = counted(figures["recordings"], "recording")
        lines.append(f"fold {number}, {recordings}: {name} {cell(interval)}")
    for name, each in values.items():
        mean = sum(each) / len(each)
        lines.append(f"mean of the folds: {name} {mean:.3f}")
    return lines
