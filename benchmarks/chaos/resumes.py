"""Resuming on other numbers of devices and over the end of an epoch."""

import math
import shutil
import signal
import time
from pathlib import Path

from benchmarks.chaos.runs import Laboratory, log_lines, manifest, require
from benchmarks.chaos.table import Tally

STEPS = 24
"""Steps of a run: two and a half epochs of 149 recordings."""
DEVICES = (1, 2, 4, 8)
STOPS = (5, 11, 18)
"""Steps at which a run is stopped: within an epoch, and in two that an epoch ends near."""
SIZES = {"--num-steps": STEPS, "--save-every": STEPS}
TOLERANCE = 1e-6


def resumes(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Compares runs on 1 to 8 devices, unbroken and resumed, with the unbroken one on 1 device."""
    equal = Tally("resumed three times", "on the same number of devices")
    other = Tally("resumed three times", "each time on another number of devices")
    reference, batches = _run(laboratory, [1])
    for number in range(tries):
        chains = [[devices] * 4 for devices in DEVICES]
        first = DEVICES.index(laboratory.rng.choice(DEVICES))
        chains.append([*DEVICES[first:], *DEVICES[:first]])
        for chain in chains[number % 5 :: 5] if tries > 1 else chains:
            same = len(set(chain)) == 1
            tally = equal if same else other
            with tally.attempt():
                start = time.monotonic()
                found, drawn = _run(laboratory, chain)
                tally.lost(0, time.monotonic() - start)
                require(drawn == batches, "other recordings in a step")
                require(_difference(found, reference) < TOLERANCE, "another loss")
                if same:
                    whole, _ = _run(laboratory, chain[:1])
                    require(manifest(found) == manifest(whole), "not bit-identical")
                    require(log_lines(found) == log_lines(whole), "another log")
    return [equal, other]


def _run(laboratory: Laboratory, chain: list[int]) -> tuple[Path, dict[int, str]]:
    """Trains with a stop before each further number of devices; returns workdir and hashes."""
    workdir = laboratory.folder / f"resumed-{'-'.join(map(str, chain))}"
    hashes = workdir.with_suffix(".hashes")
    shutil.rmtree(workdir, ignore_errors=True)
    hashes.unlink(missing_ok=True)
    for part, devices in enumerate(chain):
        stops = part < len(chain) - 1
        stop = STOPS[part] if stops else 0
        job = laboratory.pretrain(
            workdir, SIZES, devices=devices, CHAOS_STOP=stop, CHAOS_HASHES=hashes
        )
        status = job.wait()
        expected = 128 + signal.SIGTERM if stops else 0
        require(status == expected, f"status {status}: {job.last_line()}")
    drawn = dict(line.split() for line in hashes.read_text().splitlines())
    return workdir, {int(number): digest for number, digest in drawn.items()}


def _difference(workdir: Path, reference: Path) -> float:
    """Returns the largest relative difference of a loss."""
    pairs = zip(log_lines(workdir), log_lines(reference), strict=True)
    differences = [abs(one["loss"] / two["loss"] - 1) for one, two in pairs]
    return max(differences) if all(map(math.isfinite, differences)) else math.inf
