"""The results of faults: a table on the screen and in docs/reliability.md."""

import contextlib
import dataclasses
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.chaos.runs import Broken
from ecgjax.whole_files import replace_text

BEGIN = "<!-- chaos: begin -->"
END = "<!-- chaos: end -->"
HEAD = ("fault", "where", "tries", "survived", "steps lost", "seconds", "date, commit")


@dataclasses.dataclass(eq=False)
class Tally:
    """Tries of one fault."""

    fault: str
    where: str
    tries: int = 0
    survived: int = 0
    steps: list[int] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)
    note: str = ""
    """Stands in the column of the steps if no steps are lost by this fault."""

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Counts a try, which survives unless the block raises."""
        self.tries += 1
        try:
            yield
        except Broken as error:
            self.tell(str(error))
        except Exception:
            self.tell(traceback.format_exc())
        else:
            self.survived += 1
            print(f"{self.fault}, {self.where}: {self.survived} of {self.tries}", flush=True)

    @contextlib.contextmanager
    def check_all(self) -> Iterator[None]:
        """Checks what tries have left; none of them counts as survived if the block raises."""
        try:
            yield
        except Broken as error:
            self.survived = 0
            self.tell(str(error))

    def lost(self, steps: int, seconds: float) -> None:
        """Notes the steps that a try lost and the seconds until its process had ended."""
        self.steps.append(max(steps, 0))
        self.seconds.append(seconds)

    def cells(self, stamp: str) -> tuple[str, ...]:
        """Returns the row of the table."""
        steps = f"at most {max(self.steps)}" if any(self.steps) else "0" if self.steps else ""
        seconds = f"at most {max(self.seconds):.1f}" if self.seconds else ""
        counts = (str(self.tries), str(self.survived))
        return (self.fault, self.where, *counts, self.note or steps, seconds, stamp)

    def tell(self, problem: str) -> None:
        """Notes and prints why a try failed."""
        self.problems.append(problem)
        print(f"FAILED {self.fault}, {self.where}: {problem}", flush=True)


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    marks = ["---", "---", *["---:"] * 4, "---"]
    return [f"| {' | '.join(row)} |" for row in (HEAD, marks, *rows)]


def write(file: Path, tallies: Sequence[Tally], stamp: str) -> None:
    """Puts rows between the marks of a document, in place of earlier rows of these faults."""
    text = file.read_text(encoding="utf-8")
    begin, rest = text.split(BEGIN)
    table, end = rest.split(END)
    earlier = [re.split(r" *\| *", line.strip())[1:-1] for line in table.strip().splitlines()[2:]]
    rows = {(row[0], row[1]): tuple(row) for row in earlier}
    rows |= {(tally.fault, tally.where): tally.cells(stamp) for tally in tallies}
    content = "\n".join(lines(list(rows.values())))
    replace_text(file, f"{begin}{BEGIN}\n{content}\n{END}{end}")
