"""The table of runs: settings that differ as columns, sorted, for a terminal, a file or CSV."""

import csv
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.markup
import rich.table

from ecgjax.errors import InputError
from ecgjax.whole_files import replaced
from ecgjax.workflows.runs import RunRow, lower_is_better

Cells = dict[str, str]
LAST_COLUMNS = ("checkpoint", "problem")
MOST_WIDTH = 40
"""Largest width of a column on a terminal."""


def differing_settings(rows: Sequence[RunRow]) -> dict[str, str]:
    """Returns the settings that differ between runs of one kind: {full name: name of the column}.

    A column has the shortest part of the name that tells it from the others.
    """
    names = []
    for kind in dict.fromkeys(row.kind for row in rows):
        same = [row.settings for row in rows if row.kind == kind and row.settings]
        for name in dict.fromkeys(name for settings in same for name in settings):
            if len({settings.get(name) for settings in same}) > 1:
                names.append(name)
    names = list(dict.fromkeys(names))
    return {name: _short(name, names) for name in names}


def _short(name: str, names: Sequence[str]) -> str:
    parts = name.split(".")
    for count in range(2 if parts[-1] == "name" else 1, len(parts)):
        short = ".".join(parts[-count:])
        if sum(f".{other}".endswith(f".{short}") for other in names) == 1:
            return short
    return name


def sort_rows(rows: Sequence[RunRow], column: str, *, reverse: bool) -> list[RunRow]:
    """Sorts runs by a column; figures best first, times newest first. Runs without it come last.

    Raises:
      InputError: there is no such column.
    """
    settings = {short: name for name, short in differing_settings(rows).items()}
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    known = ["run", "kind", "state", "age", "step", *figures, *settings]
    if column not in known:
        raise InputError(f"--sort {column}: no such column; give one of {', '.join(known)}")

    def value(row: RunRow) -> Any:
        if column in figures:
            figure = row.figures.get(column)
            if figure is None:
                return None
            return figure.best if lower_is_better(column) else -figure.best
        if column in settings:
            return _number_or_text(row.settings.get(settings[column]))
        if column == "age":
            return None if row.updated is None else -row.updated
        if column == "state":
            return _state(row)
        return {"run": str(row.path), "kind": row.kind, "step": row.step}[column]

    present = [row for row in rows if value(row) is not None]
    absent = [row for row in rows if value(row) is None]
    return sorted(present, key=value, reverse=reverse) + absent


def _number_or_text(text: str | None) -> tuple[float, str] | None:
    if text is None:
        return None
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


def table(rows: Sequence[RunRow]) -> list[Cells]:
    """Returns the cells of each run by column, those of the terminal."""
    settings = differing_settings(rows)
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    return [
        {
            "run": str(row.path),
            "kind": row.kind,
            "state": _state(row),
            "age": "" if row.updated is None else _age(time.time() - row.updated),
            **{name: _figure(row, name) for name in figures},
            **{short: row.settings.get(name, "") for name, short in settings.items()},
            "checkpoint": row.checkpoint.name if row.checkpoint else "",
            "problem": "; ".join(row.problems),
        }
        for row in rows
    ]


def _state(row: RunRow) -> str:
    if row.is_finished:
        return "finished"
    if row.step is None:
        return "no step yet" if row.kind != "benchmark" else "unfinished"
    return f"step {row.step:,}" + (f" of {row.num_steps:,}" if row.num_steps else "")


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _figure(row: RunRow, name: str) -> str:
    """Returns the last value, and in brackets the best one @step if that is another."""
    figure = row.figures.get(name)
    if figure is None:
        return ""
    last = f"{figure.last:.3f}"
    if figure.best == figure.last:
        return last
    return f"{last} ({figure.best:.3f} @{figure.step:,})"


def as_text(cells: Sequence[Cells]) -> str:
    """Returns the whole table as lines of text, however wide."""
    columns = _used(cells)
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in columns}
    lines = [{name: name for name in columns}, *cells]
    return "\n".join(
        "  ".join(f"{line[name]:{widths[name]}}" for name in columns).rstrip() for line in lines
    )


def print_on_terminal(
    cells: Sequence[Cells], console: rich.console.Console, *, sorted_by: str = "run"
) -> None:
    """Prints the columns that fit the width of a terminal, and the names of the others."""
    columns = _used(cells)
    shown = _fitting(cells, columns, console.width, sorted_by)
    drawn = rich.table.Table(*shown, box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        drawn.add_row(*(rich.markup.escape(row[name]) for name in shown))
    console.print(drawn)
    if hidden := [name for name in columns if name not in shown]:
        console.print(f"{len(hidden)} more columns ({', '.join(hidden)}): --csv FILE has all")


def _used(cells: Sequence[Cells]) -> list[str]:
    """Returns the columns with some content."""
    return [name for name in cells[0] if any(row[name] for row in cells)]


def _fitting(
    cells: Sequence[Cells], columns: Sequence[str], width: int, sorted_by: str
) -> list[str]:
    """Returns as many columns as fit, in their order; some are always among them."""
    widths = {
        name: min(MOST_WIDTH, max(len(name), *(len(row[name]) for row in cells))) + 3
        for name in columns
    }
    always = ("run", "kind", "state", "age", "problem", sorted_by)
    needed = [name for name in columns if name in always]
    chosen = set(needed)
    figures = [name for name in columns if name == "loss" or "/" in name]
    others = [name for name in columns if name not in (*needed, *figures)]
    # Figures and settings in turn: neither crowds out the other.
    turns = itertools.chain.from_iterable(itertools.zip_longest(figures, others))
    for name in filter(None, turns):
        if sum(widths[each] for each in chosen) + widths[name] <= width:
            chosen.add(name)
    return [name for name in columns if name in chosen]


def write_csv(rows: Sequence[RunRow], file: Path) -> None:
    """Writes all columns, figures as last, best and step of the best."""
    settings = differing_settings(rows)
    lines = [_csv_line(row, settings) for row in rows]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    for name in LAST_COLUMNS:
        columns.append(columns.pop(columns.index(name)))
    with replaced(file) as unfinished, unfinished.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(lines)


def _csv_line(row: RunRow, settings: Mapping[str, str]) -> dict[str, Any]:
    line = {
        "run": row.path,
        "kind": row.kind,
        "state": "finished" if row.is_finished else "unfinished",
        "step": row.step,
        "num_steps": row.num_steps,
        "age_s": None if row.updated is None else round(time.time() - row.updated),
    }
    for name, figure in row.figures.items():
        line[name] = figure.last
        if figure.step is not None:
            line |= {f"{name} best": figure.best, f"{name} best step": figure.step}
    line |= {short: row.settings.get(name) for name, short in settings.items()}
    return line | {"checkpoint": row.checkpoint, "problem": "; ".join(row.problems)}
