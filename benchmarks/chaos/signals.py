"""SIGKILL, SIGTERM and SIGINT at every moment of a pre-training in one process."""

import re
import signal
import time

from benchmarks.chaos.command import PHASES
from benchmarks.chaos.runs import (
    Laboratory,
    last_step,
    require,
    same_end,
    saved_step,
    wait_for,
)
from benchmarks.chaos.table import Tally

KILLS_OF_A_RUN = 10
LONG = {"--num-steps": 400, "--save-every": 5}
WATCHED = {"--num-steps": 160, "--save-every": 20, "--probe-every": 20}
LIMIT_S = 30


def sigkill(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Kills a run at random times and in saves; each restart must go on, the end must be equal."""
    tally = Tally("SIGKILL", "one process, half of them in a save")
    unbroken = laboratory.unbroken("killed", LONG)
    for first in range(0, tries, KILLS_OF_A_RUN):
        with laboratory.workdir() as workdir:
            for number in range(first, min(first + KILLS_OF_A_RUN, tries)):
                with tally.attempt():
                    _kill(laboratory, workdir, tally, in_save=number % 2 == 1)
            with tally.check_all():
                laboratory.finish(workdir, LONG)
                same_end(workdir, unbroken)
    return [tally]


def _kill(laboratory: Laboratory, workdir, tally: Tally, *, in_save: bool) -> None:
    before = saved_step(workdir)
    job = laboratory.pretrain(workdir, LONG, CHAOS_PACE=0.02)
    wait_for(lambda: last_step(workdir) > before + 2, job)
    if in_save:
        wait_for(lambda: any((workdir / "checkpoints").glob("*tmp*")), job)
        time.sleep(laboratory.rng.uniform(0, 0.06))
    else:
        time.sleep(laboratory.rng.uniform(0, 0.6))
    seconds = job.end(signal.SIGKILL)
    tally.lost(last_step(workdir) - saved_step(workdir), seconds)
    require(last_step(workdir) - saved_step(workdir) <= LONG["--save-every"] + 1, "too much lost")


def sigterm(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Terminates a run in each of its moments, one after another."""
    return _stop(laboratory, tries, signal.SIGTERM)


def sigint(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Interrupts a run, as Ctrl-C does, in each of its moments."""
    return _stop(laboratory, tries, signal.SIGINT)


def _stop(laboratory: Laboratory, tries: int, number: signal.Signals) -> list[Tally]:
    """Sends a signal in each of seven moments; the last save and the first look take turns."""
    unbroken = laboratory.unbroken("watched", WATCHED)
    tallies = {phase: Tally(number.name, phase) for phase in PHASES[:6]}
    tallies["last save"] = tallies["look"] = Tally(number.name, "last save, first look")
    each = max(1, tries // 7)
    for turn in range(each):
        phases = [*PHASES[:6], PHASES[6 + turn % 2]]
        with laboratory.workdir() as workdir:
            for phase in phases:
                with tallies[phase].attempt():
                    _stop_in(laboratory, workdir, phase, number, tallies[phase])
            with tallies["last save"].check_all():
                laboratory.finish(workdir, WATCHED)
                same_end(workdir, unbroken)
    return list(dict.fromkeys(tallies.values()))


def _stop_in(laboratory, workdir, phase: str, number: signal.Signals, tally: Tally) -> None:
    mark = laboratory.folder / f"mark-{time.monotonic_ns()}"
    job = laboratory.pretrain(
        workdir, WATCHED, look=phase == "look", CHAOS_PHASE=phase, CHAOS_MARK=mark
    )
    wait_for(mark.exists, job)
    # The batch that hangs is read ahead of the steps before it.
    time.sleep(1.0 if phase == "waiting" else laboratory.rng.uniform(0, 0.15))
    seconds = job.end(number)
    status = job.process.returncode
    require(status == 128 + number, f"{phase}: status {status}: {job.last_line()}")
    require(seconds < LIMIT_S, f"{phase}: ended after {seconds:.0f} s")
    lines = job.text().strip().splitlines()
    require("Traceback" not in job.text(), f"{phase}: a traceback: {lines[-1]}")
    if phase != "look":
        stopped = re.fullmatch(r"stopped at step (\d+); checkpoint .*", lines[-1])
        require(stopped, f"{phase}: {lines[-1]}")
        assert stopped
        require(saved_step(workdir) == int(stopped[1]), f"{phase}: not saved: {lines[-1]}")
    require(saved_step(workdir) >= last_step(workdir), f"{phase}: steps are lost")
    tally.lost(0, seconds)
