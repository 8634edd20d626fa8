"""Descriptions, tables, configs and logs with random damage are read, or refused with one line.

ECGJAX_FUZZ_FORMATS is their number, ECGJAX_FUZZ_SEED the random seed of the damage;
`python -m benchmarks.chaos --only fuzz` is the long form.
"""

import os

from benchmarks.chaos.fuzz import fuzz

SEED = int(os.environ.get("ECGJAX_FUZZ_SEED", "0"))
CASES = int(os.environ.get("ECGJAX_FUZZ_FORMATS", "400"))


def test_random_damage_does_no_harm(prepared):
    rows = fuzz(CASES, SEED, prepared)
    assert [problem for row in rows for problem in row.problems] == []
    assert len(rows) == 5 and sum(row.tries for row in rows) >= CASES
    for row in rows[:4]:
        refused, read = (int(words.split()[0]) for words in row.note.split(", "))
        assert refused > 0 < read, row.where
