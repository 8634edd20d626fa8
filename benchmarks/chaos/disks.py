"""Full disks: while a checkpoint is saved, while the log is written, in a conversion."""

import contextlib
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

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

PACED = {"--num-steps": 60, "--save-every": 10}
PACE_S = 0.1
LIMIT_S = 30
DISK_MB = 24
LIMIT = 40


@contextlib.contextmanager
def small_disk(laboratory: Laboratory, size_kb: int = DISK_MB * 1024) -> Iterator[Path]:
    """Mounts a small file system in memory, which needs root.

    Raises:
      Broken: it cannot be mounted.
    """
    folder = laboratory.folder / f"disk-{time.monotonic_ns()}"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"no file system could be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        folder.rmdir()


def fill(folder: Path, leave_kb: int = 0) -> Path:
    """Fills a disk up to some kilobytes; returns the file that takes the room."""
    ballast = folder / "ballast"
    size = max(shutil.disk_usage(folder).free - leave_kb * 1024, 0)
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while size > 0:
            size -= file.write(b"\0" * min(size, 1 << 16))
    return ballast


def full_disk(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Fills the disk in a save (two in five tries), the log (two) and a conversion (one)."""
    acts = {"a checkpoint": _checkpoint, "the log": _log, "a conversion": _conversion}
    tallies = {where: Tally("full disk", where) for where in acts}
    names = list(acts)
    for number in range(tries):
        where = names[(0, 1, 2, 0, 1)[number % 5]]
        with tallies[where].attempt():
            acts[where](laboratory, number, tallies[where])
    return list(tallies.values())


def _one_line(job: Job) -> None:
    text = job.text()
    require("Traceback" not in text, f"a traceback: {job.last_line()}")
    require(job.process.returncode == 2, f"status {job.process.returncode}: {job.last_line()}")


def _checkpoint(laboratory: Laboratory, number: int, tally: Tally) -> None:
    """The disk has some space left, too little for the second or a later checkpoint."""
    unbroken = laboratory.unbroken("short")
    with small_disk(laboratory) as disk:
        workdir = disk / "run"
        job = laboratory.pretrain(workdir, PACED, CHAOS_PACE=PACE_S)
        wait_for(lambda: saved_step(workdir) >= 10, job)
        saved = sum(file.stat().st_size for file in (workdir / "checkpoints" / "10").rglob("*"))
        ballast = fill(disk, int(laboratory.rng.choice((0.0, 0.1, 0.5)) * saved / 1024))
        next_save = time.monotonic() + PACE_S * (10 - last_step(workdir) % 10)
        job.wait(120)
        _one_line(job)
        for word in ("needed", "free", "is intact"):
            require(word in job.last_line(), f"nothing is said of what is {word}")
        tally.lost(last_step(workdir) - saved_step(workdir), time.monotonic() - next_save)
        require(tally.seconds[-1] < LIMIT_S, f"ended after {tally.seconds[-1]:.0f} s")
        ballast.unlink()
        laboratory.finish(workdir, PACED)
        same_end(workdir, unbroken)


def _log(laboratory: Laboratory, number: int, tally: Tally) -> None:
    """Checkpoints lie elsewhere; in every second try the disk has room again at last."""
    unbroken = laboratory.unbroken("short")
    with small_disk(laboratory) as disk, laboratory.workdir() as elsewhere:
        workdir = disk / "run"
        workdir.mkdir()
        elsewhere.mkdir()
        (workdir / "checkpoints").symlink_to(elsewhere)
        job = laboratory.pretrain(workdir, PACED, CHAOS_PACE=PACE_S)
        wait_for(lambda: last_step(workdir) >= 10, job)
        ballast = fill(disk)
        if number % 2:
            wait_for(lambda: saved_step(workdir) >= 40, job)
            ballast.unlink()
        status = job.wait(120)
        require(status == 0, f"status {status}: {job.last_line()}")
        require("the log cannot be written" in job.text(), "no warning")
        if number % 2:
            same_end(workdir, unbroken)
        tally.lost(0, 0.0)


def _conversion(laboratory: Laboratory, number: int, tally: Tally) -> None:
    """The disk is full before or while the data set is written; with room the rerun ends well."""
    expected = laboratory.folder / "converted"
    if not expected.exists():
        require(_convert(laboratory, expected).wait() == 0, "the conversion itself failed")
    with small_disk(laboratory) as disk:
        ballast = fill(disk, laboratory.rng.choice((100, 500, 1500, 2500)))
        job = _convert(laboratory, disk / "out")
        start = time.monotonic()
        job.wait(300)
        _one_line(job)
        tally.note = "-"
        tally.seconds.append(time.monotonic() - start)
        require(not list((disk / "out").rglob("records.parquet")), "half a data set is in place")
        ballast.unlink()
        job = _convert(laboratory, disk / "out")
        require(job.wait() == 0, f"the rerun failed: {job.last_line()}")
        require(_content(disk / "out") == _content(expected), "another data set")


def _convert(laboratory: Laboratory, out: Path) -> Job:
    words = ["prepare", "--dataset", "synthetic/100hz", "--out", out, "--limit", LIMIT]
    return laboratory.start(words)


def _content(out: Path) -> dict[str, str]:
    """Returns the hashes of the shards and of the table."""
    files = [file for file in sorted(out.rglob("*")) if "array_record" in file.name]
    files += sorted(out.rglob("records.parquet"))
    if not files:
        raise Broken(f"{out}: no data set")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
