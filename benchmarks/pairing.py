"""Pairing of a large cohort: five million recordings of 1.7 million patients are opened, paired, shuffled and resumed.

Measured in a process of its own, imports included. The design asks for less than 30 s and 1.5 GB. Signals are of one
sample, as pairing does not depend on them.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import Given

FIGURE = "peak_gb"
SHARDS, PATIENTS, BATCH = 4883, 1_700_000, 4096


def measure(
    given: Given, *, shards: int = SHARDS, patients: int = PATIENTS, batch_size: int = BATCH
) -> list[dict]:
    """Seconds of each stage, and the peak of resident memory up to its end, which is the process's so far."""
    from benchmarks import made

    folder = made.cohort(given.scratch, shards=shards, patients=patients)
    command = [sys.executable, "-m", "benchmarks.pairing", str(folder), str(batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


class Stages:
    """Rows, one for each piece of work since the one before."""

    def __init__(self):
        self.rows: list[dict] = []
        self._began = self._mark = time.perf_counter(), time.process_time()

    def done(self, what: str) -> None:
        """Ends a stage."""
        self.rows.append(self._row(what, self._mark))
        self._mark = time.perf_counter(), time.process_time()

    def total(self, what: str) -> None:
        """A row for all stages so far."""
        self.rows.append(self._row(what, self._began))

    @staticmethod
    def _row(what: str, since: tuple[float, float]) -> dict:
        wall_s, cpu_s = time.perf_counter() - since[0], time.process_time() - since[1]
        return {"what": what, "wall_s": wall_s, "cpu_s": cpu_s, FIGURE: _peak_gb()}


def stages(folder: Path, batch_size: int) -> list[dict]:
    """What a pre-training run does before its first step, and how a resumed one begins."""
    stages = Stages()
    from ecgjax.data.batches import pretraining_batches  # imports are a stage
    from ecgjax.data.mixture import Mixture

    stages.done("import")
    records = Mixture([folder])
    stages.done(f"open {len(records):,} recordings")
    indices = records.split("train")
    assert len(records.fingerprint) == 32  # a checkpoint names it, so every run computes it
    stages.done("split, fingerprint")
    seen = records.seen("train")
    stages.done(f"hashes of {len(seen.waveforms):,} recordings for the checkpoint")
    settings = {"examples": "patient_pair", "batch_size": batch_size, "seed": 0}
    batches = pretraining_batches(records, indices, **settings)
    stages.done(f"pair by {len(np.unique(records.patients)):,} patients")
    next(batches.between(0, 1))
    stages.done(f"shuffle, first batch of {batch_size:,} pairs")
    middle = int(4.5 * len(indices) / batch_size)
    next(batches.between(middle, middle + 1))
    stages.done(f"resume at batch {middle:,}")
    stages.total("in all")

    # Which ones, not their signals: reading ten million recordings is another benchmark.
    numbers = pretraining_batches(records, indices, **settings, read=lambda rows: rows)
    seen = np.zeros(len(records), np.int32)
    count = -(-len(indices) // batch_size)
    for number, stack in enumerate(numbers.between(0, count)):
        first_views = stack["signal"][0, : len(indices) - number * batch_size, 0]
        np.add.at(seen, first_views, 1)
    stages.done("an epoch's batches, by number")
    stages.rows[-1]["visited_once"] = bool((seen[indices] == 1).all())
    return stages.rows


def _peak_gb() -> float:
    # Not getrusage: what it says of a new process includes its parent's peak.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    print(json.dumps(stages(Path(sys.argv[1]), int(sys.argv[2]))))
