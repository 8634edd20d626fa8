"""Input path: recordings in random order, from the shards, against PyTorch DataLoaders over WFDB and over one npy.

All read the same recordings to int16 batches on one core, from the page cache. The DataLoaders run in this process
(num_workers=0), and wfdb leaves the samples as they are stored (physical=False), its cheapest form.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import wfdb

from benchmarks import Given, made
from benchmarks.timing import cpu_seconds, one_core
from ecgjax.data.batches import pretraining_batches
from ecgjax.data.records import Records
from ecgjax.signals import LEADS

FIGURE = "ecg_per_s_core"
BATCH = 256
READ, PAIRS = "Records.read", "pretraining_batches, pairs"
WFDB, NPY = "DataLoader over wfdb.rdrecord", "DataLoader over a memory-mapped npy"


def measure(
    given: Given,
    *,
    samples: tuple[int, ...] = (1000, 5000),
    recordings: int = 2048,
    wfdb_recordings: int = 64,
    rounds: int = 3,
) -> list[dict]:
    """Recordings a second of CPU time; `times_wfdb` is the ratio to the DataLoader over WFDB."""
    folders = [given.data] if given.data else _made(given.scratch, samples, recordings)
    return [
        row
        for folder in folders
        for row in _measure(Records(folder), given, recordings, wfdb_recordings, rounds)
    ]


def _made(scratch: Path, samples: tuple[int, ...], recordings: int) -> Iterator[Path]:
    return (made.walks(scratch, recordings=recordings, samples=count) for count in samples)


def _measure(
    records: Records, given: Given, recordings: int, wfdb_recordings: int, rounds: int
) -> list[dict]:
    order = np.random.default_rng(0).permutation(len(records))[:recordings]
    contenders = {READ: lambda: _read(records, order), PAIRS: lambda: _pairs(records, order)}
    if importlib.util.find_spec("torch"):
        folder = given.scratch / f"copies{records.samples}"
        few = order[:wfdb_recordings]
        contenders |= {
            NPY: _over_npy(records, order, folder),
            WFDB: _over_wfdb(records, few, folder),
        }
    with one_core():
        seconds = cpu_seconds(contenders, rounds=rounds)
    size = {"samples": records.samples}
    rows = [{"what": name, **size, FIGURE: 1 / each} for name, each in seconds.items()]
    if WFDB in seconds:
        return [{**row, "times_wfdb": row[FIGURE] * seconds[WFDB]} for row in rows]
    return rows + [
        {"what": name, **size, "skipped": "torch is not installed"} for name in (NPY, WFDB)
    ]


def _read(records: Records, order: np.ndarray) -> int:
    for start in range(0, len(order), BATCH):
        records.read(order[start : start + BATCH])
    return len(order)


def _pairs(records: Records, order: np.ndarray) -> int:
    """The whole of what a pre-training run does on the host: order, partners, reading, reading ahead."""
    size = min(BATCH // 2, len(order))
    batches = pretraining_batches(
        records, np.sort(order), examples="patient_pair", batch_size=size, seed=0
    )
    return sum(
        stack["signal"][0, ..., 0, 0].size
        for stack in batches.between(0, len(order) // (2 * size) or 1)
    )


def _over_npy(records: Records, order: np.ndarray, folder: Path) -> Callable[[], int]:
    folder.mkdir(exist_ok=True)
    np.save(folder / "all.npy", records.read(order))
    mapped = np.load(folder / "all.npy", mmap_mode="r")
    return _loaded(lambda number: np.array(mapped[number]), len(order))


def _over_wfdb(records: Records, order: np.ndarray, folder: Path) -> Callable[[], int]:
    folder.mkdir(exist_ok=True)
    for number, signal in enumerate(records.read(order)):
        _write_wfdb(folder / str(number), signal, records.rate_hz)

    def read(number: int) -> np.ndarray:
        return wfdb.rdrecord(str(folder / str(number)), physical=False, return_res=16).d_signal

    return _loaded(read, len(order))


def _write_wfdb(record: Path, signal: np.ndarray, rate_hz: float) -> None:
    """A record in format 16; wfdb.wrsamp makes the same in 200 ms each."""
    lines = [f"{record.name} {len(LEADS)} {rate_hz:g} {len(signal)}"]
    sums = signal.sum(axis=0, dtype=np.int64) % 65536
    for lead, first, checksum in zip(LEADS, signal[0], sums, strict=True):
        lines.append(f"{record.name}.dat 16 1000(0)/mV 16 0 {first} {checksum} 0 {lead}")
    record.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    signal.astype("<i2").tofile(record.with_suffix(".dat"))


def _loaded(read: Callable[[int], np.ndarray], count: int) -> Callable[[], int]:
    """One shuffled epoch of a DataLoader over `read`."""
    import torch

    class Recordings(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, number: int) -> torch.Tensor:
            return torch.from_numpy(read(number))

    loader = torch.utils.data.DataLoader(Recordings(), batch_size=min(BATCH, count), shuffle=True)

    def epoch() -> int:
        threads = torch.get_num_threads()
        torch.set_num_threads(
            1
        )  # as in a worker process: several would wait for each other on one core
        try:
            return sum(len(batch) for batch in loader)
        finally:
            torch.set_num_threads(threads)

    return epoch
