"""Hours of operation with a fault every minute or two, and what they leave."""

import signal
import time
from pathlib import Path

from benchmarks.chaos.disks import fill, small_disk
from benchmarks.chaos.runs import (
    Broken,
    Job,
    Laboratory,
    last_step,
    log_lines,
    manifest,
    require,
    saved_step,
)
from benchmarks.chaos.table import Tally
from ecgjax.train.metrics_file import read_lines

PACE_S = 0.25
USEFUL_SHARE = 0.6
"""Share of the time that is planned for steps; starts and lost steps take the rest."""
BETWEEN_S = (30.0, 90.0)
LARGEST_GROWTH = 1.1
FAULTS = ("SIGKILL", "SIGTERM", "full disk", "damaged checkpoint")


def operation(laboratory: Laboratory, hours: float) -> list[Tally]:
    """Runs until the training is finished, whatever is done to it."""
    num_steps = max(100, int(hours * 3600 * USEFUL_SHARE / PACE_S))
    sizes = {"--num-steps": num_steps, "--save-every": 50, "--log-every": 10}
    unbroken = laboratory.unbroken(f"long-{num_steps}", sizes)
    tallies = {name: Tally("operation", name) for name in FAULTS}
    whole = Tally("operation", f"{hours:g} h, the end")
    memory: list[tuple[float, int, int]] = []
    start = time.monotonic()
    with whole.attempt(), small_disk(laboratory, 1024 * 200) as disk:
        workdir = disk / "run"
        while saved_step(workdir) < num_steps:
            between_s = min(laboratory.rng.uniform(*BETWEEN_S), hours * 3600 / 10)
            job = laboratory.pretrain(workdir, sizes, CHAOS_PACE=PACE_S)
            _wait(job, between_s, memory)
            if job.process.poll() is None:
                name = laboratory.rng.choice(FAULTS)
                with tallies[name].attempt():
                    _do(laboratory, name, job, disk, workdir, tallies[name])
            else:
                require(job.process.returncode == 0, job.last_line())
        require(manifest(workdir) == manifest(unbroken), "another state than the unbroken run")
        require(log_lines(workdir) == log_lines(unbroken), "another log than the unbroken run")
        _require_flat(memory)
        lines, _ = read_lines(workdir)
        megabytes = max(size for _, size, _ in memory) / 1e6
        handles = max(count for *_, count in memory)
        goodput = f"goodput {lines[-1]['goodput']:.2f}"
        whole.note = f"{goodput}; at most {megabytes:.0f} MB, {handles} handles"
        whole.seconds.append(time.monotonic() - start)
        print(whole.note)
    return [*(tally for tally in tallies.values() if tally.tries), whole]


def _wait(job: Job, limit_s: float, memory: list) -> None:
    """Waits, and notes seconds since the start, memory and handles of the process."""
    start = time.monotonic()
    while time.monotonic() - start < limit_s and job.process.poll() is None:
        time.sleep(1.0)
        folder = Path("/proc", str(job.process.pid))
        try:
            pages = int((folder / "statm").read_text().split()[1])
            handles = len(list((folder / "fd").iterdir()))
        except (OSError, IndexError):
            continue
        if time.monotonic() - start > 15:  # compiling needs more
            memory.append((time.monotonic(), pages * 4096, handles))


def _require_flat(memory: list[tuple[float, int, int]]) -> None:
    """Compares memory and handles of the last third with those of the first."""
    third = len(memory) // 3
    require(third, "too short to see whether memory grows")
    for place, name in ((1, "memory"), (2, "handles")):
        first = sum(entry[place] for entry in memory[:third]) / third
        last = sum(entry[place] for entry in memory[-third:]) / third
        require(last < LARGEST_GROWTH * first, f"{name} grew from {first:.0f} to {last:.0f}")


def _do(
    laboratory: Laboratory, name: str, job: Job, disk: Path, workdir: Path, tally: Tally
) -> None:
    if name == "full disk":
        ballast = fill(disk)
        start = time.monotonic()
        try:
            status = job.wait(180)  # until its next save
        finally:
            ballast.unlink(missing_ok=True)
        if status not in (0, 2):
            raise Broken(f"status {status}: {job.last_line()}")
        seconds = time.monotonic() - start - 50 * PACE_S
    else:
        number = signal.SIGTERM if name == "SIGTERM" else signal.SIGKILL
        seconds = job.end(number)
    if name == "damaged checkpoint":
        _damage(laboratory, workdir)
    if name == "SIGTERM" and saved_step(workdir) < last_step(workdir):
        raise Broken("steps are lost")
    tally.lost(last_step(workdir) - saved_step(workdir), max(seconds, 0.0))


def _damage(laboratory: Laboratory, workdir: Path) -> None:
    """Flips a byte in the largest file of the newest checkpoint, if there is one before it."""
    folders = [f for f in (workdir / "checkpoints").glob("[0-9]*") if f.name.isdigit()]
    if len(folders) > 1:
        newest = max(folders, key=lambda folder: int(folder.name))
        file = max(newest.rglob("*"), key=lambda file: file.stat().st_size * file.is_file())
        content = bytearray(file.read_bytes())
        content[laboratory.rng.randrange(len(content))] ^= 0xFF
        file.write_bytes(content)
