"""Processes of the faults: a small pre-training, its unbroken form, and what is left of one."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.metrics_file import read_lines
from ecgjax.train.runlog import TIMING

COMMAND = Path(__file__).with_name("command.py")
ROOT = COMMAND.parents[2]
OPTIONS = (
    "--batch-size 16 --projection 16 8 --augmentation.lead-mask 0.5 --augmentation.gain 0 "
    "--augmentation.noise-mv 0 --augmentation.wander-mv 0 --augmentation.time-out 0"
).split()
SIZES = {"--num-steps": 60, "--save-every": 10, "--log-every": 1, "--probe-every": 0}
"""Options of a run that decide how long it takes."""


class Broken(Exception):
    """A fault that a run did not survive; the message says how."""


def require(condition: object, message: str) -> None:
    """Raises Broken unless the condition holds."""
    if not condition:
        raise Broken(message)


@dataclasses.dataclass
class Job:
    """A process of a command, and what it prints."""

    process: subprocess.Popen
    log: Path

    def text(self) -> str:
        """Returns what it has printed, with standard error."""
        return self.log.read_text(errors="replace")

    def last_line(self) -> str:
        """Returns the last line that it printed."""
        return (self.text().strip().splitlines() or [""])[-1]

    def wait(self, limit_s: float = 600) -> int:
        """Waits for the end; returns the exit status.

        Raises:
          Broken: it does not end in time.
        """
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Broken(f"not ended after {limit_s:.0f} s: {self.last_line()}") from None

    def end(self, number: int) -> float:
        """Sends a signal and waits for the end; returns the seconds between."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.wait(180)
        return time.monotonic() - start


@dataclasses.dataclass
class Laboratory:
    """A folder with a small prepared data set and the programs that were compiled once."""

    folder: Path
    rng: random.Random

    @property
    def data(self) -> Path:
        """The prepared data set: 72 synthetic patients, about 220 recordings."""
        return self.folder / "data"

    def start(self, words: list, *, devices: int = 1, **variables: object) -> Job:
        """Starts a command with a tiny encoder.

        Args:
          words: the command and its options.
          devices: number of its CPU devices.
          variables: environment, such as CHAOS_PHASE.
        """
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            **{name: str(value) for name, value in variables.items()},
        }
        log = self.folder / f"log-{time.monotonic_ns()}.txt"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, str(COMMAND), *map(str, words)],
                env=environment,
                stdout=file,
                stderr=file,
                cwd=self.folder,
            )
        return Job(process, log)

    def pretrain(self, workdir: Path, sizes: dict | None = None, **settings) -> Job:
        """Starts a pre-training; `sizes` replaces some of SIZES."""
        options = {**SIZES, **(sizes or {})}
        words = [word for pair in options.items() for word in pair]
        look = [] if settings.pop("look", False) else ["--no-first-look"]
        more = settings.pop("more", [])
        given = ["pretrain", "--data", self.data, "--workdir", workdir, *OPTIONS, *look, *more]
        return self.start([*given, *words], **settings)

    def finish(self, workdir: Path, sizes: dict | None = None, **settings) -> None:
        """Gives the same command again, which must end well."""
        job = self.pretrain(workdir, sizes, **settings)
        status = job.wait()
        require(status == 0, f"the rerun ended with {status}: {job.last_line()}")

    def unbroken(self, name: str, sizes: dict | None = None, **settings) -> Path:
        """Returns the workdir of an unbroken run of that name; it is trained once."""
        workdir = self.folder / f"unbroken-{name}"
        if not (workdir / "checkpoints" / str({**SIZES, **(sizes or {})}["--num-steps"])).exists():
            self.finish(workdir, sizes, **settings)
        return workdir

    @contextlib.contextmanager
    def workdir(self) -> Iterator[Path]:
        """Yields a folder that does not exist yet, and removes it afterwards."""
        folder = self.folder / f"run-{time.monotonic_ns()}"
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def manifest(workdir: Path) -> dict:
    """Returns the hashes of all arrays and of the config in the newest checkpoint."""
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def log_lines(workdir: Path) -> list[dict]:
    """Returns the log lines without what differs between equal runs."""
    lines, _ = read_lines(workdir)
    return [{key: line[key] for key in line if key not in TIMING} for line in lines]


def last_step(workdir: Path) -> int:
    """Returns the step of the last log line, 0 if there is none."""
    lines, _ = read_lines(workdir)
    return lines[-1]["step"] if lines else 0


def saved_step(workdir: Path) -> int:
    """Returns the step of the newest whole checkpoint, 0 if there is none."""
    folders = (workdir / "checkpoints").glob("[0-9]*/manifest")
    return max((int(f.parent.name) for f in folders if f.parent.name.isdigit()), default=0)


def wait_for(condition: Callable[[], object], job: Job, limit_s: float = 300) -> None:
    """Waits until a condition holds.

    Raises:
      Broken: the process ends before, or the time is over.
    """
    until = time.monotonic() + limit_s
    while not condition():
        require(job.process.poll() is None, f"ended too early: {job.last_line()}")
        require(time.monotonic() < until, f"nothing happened for {limit_s:.0f} s")
        time.sleep(0.01)


def same_end(workdir: Path, unbroken: Path) -> None:
    """Raises Broken unless a run ended like the unbroken one: state and log, bit for bit."""
    require(manifest(workdir) == manifest(unbroken), "another state than the unbroken run")
    require(log_lines(workdir) == log_lines(unbroken), "another log than the unbroken run")
