"""The table of `python -m benchmarks.chaos`. Short forms of its faults are beside this file."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks.chaos import table
from benchmarks.chaos.runs import Broken, require


def test_the_table_replaces_rows_of_the_same_fault(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(f"# Page\n{table.BEGIN}\n| a |\n|---|\n{table.END}\nend\n")
    for problem in ("at first", ""):
        tally = table.Tally("SIGKILL", "a save")
        with tally.attempt():
            tally.lost(3, 0.25)
            require(not problem, problem)
        other = table.Tally("bit flip", f"a shard {problem}".strip())
        table.write(file, [tally, other], "2026-11-30, abc")
    rows = file.read_text().split(table.BEGIN)[1].split(table.END)[0].strip().splitlines()
    assert rows[2] == "| SIGKILL | a save | 1 | 1 | at most 3 | at most 0.2 | 2026-11-30, abc |"
    assert len(rows) == 5 and file.read_text().endswith("\nend\n")


def test_a_failed_check_of_the_end_counts_for_all_tries():
    tally = table.Tally("SIGKILL", "anywhere")
    with tally.attempt():
        pass
    with tally.check_all():
        raise Broken("another state")
    assert tally.survived == 0 and tally.problems == ["another state"]
    with pytest.raises(Broken, match="why"):
        require([], "why")
