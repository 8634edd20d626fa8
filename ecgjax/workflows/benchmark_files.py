"""The files of a benchmark that people read: tables, the plot and the clinical report."""

from collections.abc import Sequence
from pathlib import Path

from ecgjax.evaluate import plots
from ecgjax.evaluate.low_label_table import Row, markdown
from ecgjax.evaluate.tasks import Task
from ecgjax.whole_files import replace_text
from ecgjax.workflows.low_label_methods import Benchmark
from ecgjax.workflows.protocols.protocol import Protocol
from ecgjax.workflows.protocols.table import write_table


def write_files(
    rows: Sequence[Row],
    tasks: Sequence[Task],
    protocol: Protocol | None,
    settings: Benchmark,
    out: Path,
) -> str:
    """Writes benchmark.md, benchmark.png and, for a protocol, its table.

    Args:
      rows: the results of `benchmark`.
      tasks: the tasks that it was given.
      protocol: the published protocol that was followed, if any.
      settings: the settings of the benchmark.
      out: folder of the results.

    Returns:
      The tables, and the paths of the files, as lines for the terminal.
    """
    table = markdown(rows)
    if any(row.way in settings.trained for row in rows):
        table += f"\n{settings.tuning}\n"
    replace_text(out / "benchmark.md", table)
    plots.low_label_curves(rows, out / "benchmark.png")
    lines = [table]
    if protocol:
        lines.append(write_table(protocol, rows, tasks, settings.split, out))
        lines.append(f"table:   {out / 'protocol.md'}")
    lines.append(f"results: {out / 'benchmark.csv'}")
    lines.append(f"plot:    {out / 'benchmark.png'}")
    return "\n".join(lines)
