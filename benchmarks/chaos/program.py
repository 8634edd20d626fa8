"""The options of `python -m benchmarks.chaos`, and the order of the faults."""

import dataclasses
import datetime
import random
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.chaos import table
from benchmarks.chaos.disks import full_disk
from benchmarks.chaos.flips import bit_flips
from benchmarks.chaos.fuzz import fuzz
from benchmarks.chaos.operation import operation
from benchmarks.chaos.pairs import pair_killed, pair_stopped, pair_terminated
from benchmarks.chaos.resumes import resumes
from benchmarks.chaos.runs import ROOT, Laboratory
from benchmarks.chaos.signals import sigint, sigkill, sigterm
from ecgjax.errors import InputError
from ecgjax.launch.command import parse
from tfds_builders.prepare import prepare

LONG = {
    "sigkill": 50,
    "sigterm": 35,
    "sigint": 35,
    "full_disk": 20,
    "bit_flips": 300,
    "pair_killed": 10,
    "pair_stopped": 10,
    "pair_terminated": 10,
    "resumes": 5,
    "fuzz": 100_000,
}
"""Faults and their tries in the long form."""
ACTS: dict[str, Callable] = {
    "sigkill": sigkill,
    "sigterm": sigterm,
    "sigint": sigint,
    "full_disk": full_disk,
    "bit_flips": bit_flips,
    "pair_killed": pair_killed,
    "pair_stopped": pair_stopped,
    "pair_terminated": pair_terminated,
    "resumes": resumes,
    "fuzz": lambda laboratory, tries: fuzz(tries, laboratory.rng.randrange(10**6)),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Kills, stops and starves small trainings, and checks that they end like unbroken ones.

    Needs Linux, and root for the small file systems of full_disk and of --hours.
    """

    only: tuple[str, ...] = tuple(LONG)
    """Faults to do. Default: all."""
    tries: int | None = None
    """Tries of each fault. Default: those of docs/reliability.md, which take hours."""
    hours: float = 0.0
    """Hours of operation with a fault every minute or so, after the other faults."""
    out: Path | None = Path("docs/reliability.md")
    """Document whose table gets the rows."""
    scratch: Path | None = None
    """Folder that is kept, for a second call. Default: a temporary folder."""
    seed: int | None = None
    """Seed of the times and places. Default: a new one, which is printed."""


def main() -> None:
    """Entry point."""
    arguments = parse(Arguments)
    if unknown := [name for name in arguments.only if name not in LONG]:
        raise InputError(f"--only {unknown[0]}: give some of {', '.join(LONG)}")
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory((arguments.scratch or Path(folder)).absolute(), random.Random(seed))
        laboratory.folder.mkdir(parents=True, exist_ok=True)
        prepare("synthetic/100hz", laboratory.data, patients=72)
        tallies = []
        for name in arguments.only:
            tallies += ACTS[name](laboratory, arguments.tries or LONG[name])
            _write(arguments.out, tallies)
        if arguments.hours:
            tallies += operation(laboratory, arguments.hours)
            _write(arguments.out, tallies)
    stamp = _stamp()
    print("\n".join(table.lines([tally.cells(stamp) for tally in tallies])))
    if failed := sum(tally.tries - tally.survived for tally in tallies):
        raise InputError(f"{failed} tries failed; see FAILED above")


def _write(out: Path | None, tallies: list[table.Tally]) -> None:
    if out:
        table.write(out, tallies, _stamp())


def _stamp() -> str:
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"{datetime.date.today()}, {done.stdout.strip() or 'unknown'}"
