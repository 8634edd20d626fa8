"""Two processes that train together: one is killed, stopped or terminated, the other ends."""

import signal
import socket
import time

from benchmarks.chaos.runs import (
    Broken,
    Job,
    Laboratory,
    last_step,
    require,
    same_end,
    saved_step,
    wait_for,
)
from benchmarks.chaos.table import Tally

PAIR = {"--num-steps": 60, "--save-every": 10}
PACE_S = 0.1
LIMIT_S = 60


def pair_killed(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Kills one of two processes."""
    return _pairs(laboratory, tries, "killed", signal.SIGKILL)


def pair_stopped(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Stops one of two processes, which then neither works nor ends."""
    return _pairs(laboratory, tries, "stopped", signal.SIGSTOP)


def pair_terminated(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Terminates one of two processes; both must stop at the same step."""
    return _pairs(laboratory, tries, "terminated", signal.SIGTERM)


def _pairs(laboratory: Laboratory, tries: int, act: str, number: int) -> list[Tally]:
    """Signals each of two processes in turns, and starts both again."""
    tally = Tally("one of two processes", act)
    for turn in range(tries):
        with tally.attempt():
            _try(laboratory, number, turn % 2, tally)
    return [tally]


def _start(laboratory: Laboratory, workdir, **variables) -> list[Job]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--distributed", "--coordinator", address, "--num-processes", 2, "--process-id"]
    return [
        laboratory.pretrain(workdir, PAIR, more=[*words, number], **variables)
        for number in range(2)
    ]


def _finish(laboratory: Laboratory, workdir) -> None:
    jobs = _start(laboratory, workdir)
    try:
        for job in jobs:
            require(job.wait(300) == 0, f"the rerun failed: {job.last_line()}")
    finally:
        _end(jobs)


def _end(jobs: list[Job]) -> None:
    for job in jobs:
        job.process.kill()
        job.process.wait()


def _try(laboratory: Laboratory, number: int, victim: int, tally: Tally) -> None:
    unbroken = laboratory.folder / "unbroken-pair"
    if saved_step(unbroken) < PAIR["--num-steps"]:
        _finish(laboratory, unbroken)
    with laboratory.workdir() as workdir:
        jobs = _start(laboratory, workdir, CHAOS_PACE=PACE_S)
        try:
            wait_for(lambda: last_step(workdir) >= 13, jobs[0])
            start = time.monotonic()
            jobs[victim].process.send_signal(number)
            survivor = jobs[1 - victim]
            survivor.wait(LIMIT_S + 60)
            seconds = time.monotonic() - start
            if number == signal.SIGTERM:
                jobs[victim].wait(LIMIT_S)
        finally:
            _end(jobs)
        tally.lost(last_step(workdir) - saved_step(workdir), seconds)
        require(seconds < LIMIT_S, f"the other ended after {seconds:.0f} s")
        _check(jobs, number, survivor, workdir)
        _finish(laboratory, workdir)
        same_end(workdir, unbroken)


def _check(jobs: list[Job], number: int, survivor: Job, workdir) -> None:
    """Checks what the processes said."""
    if number == signal.SIGTERM:
        expected = f"stopped at step {saved_step(workdir)}; checkpoint"
        for job in jobs:
            if job.process.returncode != 128 + number or expected not in job.text():
                raise Broken(f"status {job.process.returncode}: {job.last_line()}")
    else:
        require("another process of this job" in survivor.text(), survivor.last_line())
        require("Traceback" not in survivor.text(), "a traceback")
        require("stack trace" not in survivor.text(), "a C++ stack")
