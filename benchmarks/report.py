"""Results of a benchmark as a table, as JSON with a description of the machine, and as a plot."""

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax
import rich.box
import rich.console
import rich.table

Rows = list[dict[str, Any]]


def write(name: str, rows: Rows, *, figure: str, out: Path) -> None:
    """Prints a benchmark's results, and writes OUT/NAME.json and OUT/NAME.png.

    Args:
      name: name of the benchmark.
      rows: its results.
      figure: the figure to plot, if any row has it.
      out: folder of the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    show(name, rows)
    (out / f"{name}.json").write_text(
        json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n"
    )
    print(out / f"{name}.json")
    if measured := [row for row in rows if row.get(figure)]:
        _plot(name, measured, figure, out / f"{name}.png")
        print(out / f"{name}.png")


def show(name: str, rows: Rows) -> None:
    """Prints rows as a Markdown table with a column for every figure in them."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = rich.table.Table(*columns, box=rich.box.MARKDOWN)
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    print(f"\n{name}")
    rich.console.Console(width=200, highlight=False).print(table)


def machine() -> dict[str, Any]:
    """Returns a description of this machine and its software, and the date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "devices": jax.device_count(),
        "device_kind": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _cpu() -> str:
    """Returns the name of the processor if the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _plot(name: str, rows: Rows, figure: str, file: Path) -> None:
    import matplotlib.pyplot as plt

    labels = [", ".join([row["what"], *_context(row, figure)]) for row in rows]
    figures = [row[figure] for row in rows]
    scale = "log" if max(figures) > 10 * min(figures) > 0 else "linear"  # bars begin at 0
    drawing, axes = plt.subplots(figsize=(9, 0.9 + 0.28 * len(rows)), layout="constrained")
    bars = axes.barh(labels, figures)
    axes.bar_label(bars, [_cell(value) for value in figures], padding=3)
    axes.set(xscale=scale, xlabel=figure.replace("_", " "), title=name)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(file, dpi=120)
    plt.close(drawing)


def _context(row: dict[str, Any], figure: str) -> list[str]:
    """Returns the integers of a row with their units, which distinguish rows of the same name."""
    return [
        f"{value:,} {key}" for key, value in row.items() if isinstance(value, int) and key != figure
    ]
