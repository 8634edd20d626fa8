"""Pairing of a large cohort: five million recordings of 1.7 million patients, in stages.

The stages open the cohort, pair and shuffle its recordings, and resume a run. They are measured in
a process of their own, imports included. Recordings have eight samples, because pairing does not
read signals.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import Inputs

FIGURE = "peak_gb"
SHARDS = 4883
PATIENTS = 1_700_000
BATCH = 4096


def measure(
    inputs: Inputs, *, shards: int = SHARDS, patients: int = PATIENTS, batch_size: int = BATCH
) -> list[dict]:
    """Measures the seconds of each stage, and the peak of resident memory up to its end.

    Args:
      inputs: the cohort is written to `scratch`.
      shards: shards of the cohort, 1,024 recordings each.
      patients: patients of the cohort.
      batch_size: pairs of a batch.
    """
    from benchmarks import random_walks

    folder = random_walks.cohort(inputs.scratch, shards=shards, patients=patients)
    command = [sys.executable, "-m", "benchmarks.pairing", str(folder), str(batch_size)]
    finished = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)}: {finished.stderr}")
    return json.loads(finished.stdout)


class Stages:
    """Rows of the stages, measured one after the other."""

    def __init__(self):
        self.rows: list[dict] = []
        self._start = _now()
        self._stage_start = self._start

    def end(self, name: str) -> None:
        """Ends a stage and adds its row."""
        self.rows.append(_row(name, self._stage_start))
        self._stage_start = _now()

    def total(self, name: str) -> None:
        """Adds a row for all stages so far."""
        self.rows.append(_row(name, self._start))


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _row(name: str, start: tuple[float, float]) -> dict:
    wall_s = time.perf_counter() - start[0]
    cpu_s = time.process_time() - start[1]
    return {"what": name, "wall_s": wall_s, "cpu_s": cpu_s, FIGURE: _peak_gb()}


class Numbers:
    """A cache of `pretraining_batches` whose slots are the numbers of the recordings."""

    def slots(self, indices: np.ndarray) -> np.ndarray:
        """Returns the numbers of the recordings."""
        return indices


def run_stages(folder: Path, batch_size: int) -> list[dict]:
    """Runs the stages of a pre-training run before its first step, and those of a resumed run."""
    stages = Stages()
    from ecgjax.data.batches import pretraining_batches  # imports are a stage
    from ecgjax.data.mixture import Mixture

    stages.end("import")
    records = Mixture([folder])
    stages.end(f"open {len(records):,} recordings")
    indices = records.split("train")
    assert len(records.fingerprint) == 32  # every run computes it for its checkpoints
    stages.end("split, fingerprint")
    seen = records.seen("train")
    stages.end(f"hashes of {len(seen.waveforms):,} recordings for the checkpoint")
    settings = {"examples": "patient_pair", "batch_size": batch_size, "seed": 0}
    batches = pretraining_batches(records, [indices], **settings)
    stages.end(f"pair by {len(np.unique(records.patients)):,} patients")
    next(batches.between(0, 1))
    stages.end(f"shuffle, first batch of {batch_size:,} pairs")
    middle = int(4.5 * len(indices) / batch_size)
    next(batches.between(middle, middle + 1))
    stages.end(f"resume at batch {middle:,}")
    stages.total("in all")

    # An epoch of recording numbers, without signals: input_path measures reading.
    numbers = pretraining_batches(records, [indices], **settings, cache=Numbers())
    visits = np.zeros(len(records), np.int32)
    count = -(-len(indices) // batch_size)
    for number, stack in enumerate(numbers.between(0, count)):
        first_views = stack["slot"][0, : len(indices) - number * batch_size, 0]
        np.add.at(visits, first_views, 1)
    stages.end("an epoch's batches, by number")
    stages.rows[-1]["visited_once"] = bool((visits[indices] == 1).all())
    return stages.rows


def _peak_gb() -> float:
    # Not getrusage: its value for a new process includes the peak of the parent process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    print(json.dumps(run_stages(Path(sys.argv[1]), int(sys.argv[2]))))
