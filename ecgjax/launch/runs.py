"""Lists runs with their settings and figures: `python -m ecgjax.launch.runs`."""

import dataclasses
import sys
from pathlib import Path

import rich.console
import tyro

from ecgjax.launch import command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Lists the runs of pretrain, finetune and benchmark below folders.

    The columns are state, age of the last log line, last and best figures, the settings that differ
    between the runs, the newest checkpoint, and what cannot be read.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]] = (Path("runs"),)
    """Folders of runs, or above them."""
    sort: str = "run"
    """Column to sort by: figures best first, age newest first."""
    reverse: bool = False
    """Sort the other way round."""
    csv: Path | None = None
    """Also write all columns to this file."""


def main() -> None:
    """Parses the options and prints the table."""
    arguments = command.parse(Arguments)
    if arguments.csv:
        command.writable_folder(arguments.csv.parent, "--csv")
    # Imported late: --help need not wait for Flax.
    from ecgjax.workflows import runs, runs_table

    rows = runs.list_runs(arguments.folders)
    rows = runs_table.sort_rows(rows, arguments.sort, reverse=arguments.reverse)
    cells = runs_table.table(rows)
    if sys.stdout.isatty():
        console = rich.console.Console(highlight=False)
        runs_table.print_on_terminal(cells, console, sorted_by=arguments.sort)
    else:
        print(runs_table.as_text(cells))
    if arguments.csv:
        runs_table.write_csv(rows, arguments.csv)
        print(f"\ntable: {arguments.csv}")


if __name__ == "__main__":
    command.run(main)
