"""Tables of `benchmarks.recipe`: a line for each probe as CSV, one for each row as Markdown."""

import csv
from pathlib import Path

import numpy as np

ROW = ("architecture", "read_out", "crops", "objective", "equal", "recordings", "train_s")
"""Columns that tell the rows apart."""


def write(file: Path, lines: list[dict]) -> None:
    """Writes lines as CSV; the file is complete or absent."""
    part = file.with_suffix(".part")
    with part.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    part.rename(file)


def collect(out: Path) -> None:
    """Writes recipe.csv and recipe.md of all finished rows in a folder, and prints the table."""
    lines = []
    for file in sorted(out.glob("*/probes-*.csv")):
        with file.open() as opened:
            lines += csv.DictReader(opened)
    write(out / "recipe.csv", lines)
    table = markdown(lines)
    (out / "recipe.md").write_text(table)
    print(table)


def markdown(lines: list[dict]) -> str:
    """Returns a table: one line for each row and read-out, best mean first.

    A cell has the AUROC at each number of labels; the last column has their mean over the tasks.
    """
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    labels = list(dict.fromkeys(line["labels"] for line in lines))
    rows: dict[tuple, dict[tuple, float]] = {}
    for line in lines:
        values = rows.setdefault(tuple(line[name] for name in ROW), {})
        values[line["task"], line["labels"]] = float(line["auroc"])

    def cell(values: list[float]) -> str:
        return " / ".join(f"{value:.3f}"[1:] if value < 1 else "1" for value in values)

    text = []
    for row, values in rows.items():
        nan = float("nan")
        by_task = [[values.get((task, number), nan) for number in labels] for task in tasks]
        means = [float(np.mean(column)) for column in zip(*by_task, strict=True)]
        cells = [*row, *map(cell, by_task), cell(means)]
        text.append((-np.nan_to_num(means).mean(), f"| {' | '.join(cells)} |"))
    head = [*ROW, *tasks, f"mean ({' / '.join(labels)})"]
    lines_out = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head))]
    return "\n".join([*lines_out, *(line for _, line in sorted(text))]) + "\n"
