"""Input path: shards in random order, against PyTorch DataLoaders over WFDB files and an npy file.

All contenders read the same recordings into int16 batches, on one core and from the page cache. The
DataLoaders run in this process (num_workers=0). wfdb does not convert samples to mV
(physical=False), its cheapest form.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import wfdb

from benchmarks import Inputs, random_walks
from benchmarks.timing import cpu_seconds, one_core
from ecgjax.data.batches import pretraining_batches
from ecgjax.data.records import Records
from ecgjax.signals import LEADS

FIGURE = "ecg_per_s_core"
BATCH = 256
READ = "Records.read"
PAIRS = "pretraining_batches, pairs"
WFDB = "DataLoader over wfdb.rdrecord"
NPY = "DataLoader over a memory-mapped npy"


def measure(
    inputs: Inputs,
    *,
    samples: tuple[int, ...] = (1000, 5000),
    recordings: int = 2048,
    wfdb_recordings: int = 64,
    rounds: int = 3,
) -> list[dict]:
    """Measures recordings per second of CPU time.

    Args:
      inputs: `data` is a prepared data set; without it, random walks are read.
      samples: lengths of the random walks, in samples.
      recordings: recordings to read.
      wfdb_recordings: recordings that wfdb reads, which is slow.
      rounds: turns of each contender.

    Returns:
      Rows; "times_wfdb" is the speed relative to the DataLoader over WFDB.
    """
    if inputs.data:
        folders = [inputs.data]
    else:
        folders = [
            random_walks.walks(inputs.scratch, recordings=recordings, samples=count)
            for count in samples
        ]
    rows = []
    for folder in folders:
        records = Records(folder)
        order = np.random.default_rng(0).permutation(len(records))[:recordings]
        contenders = _contenders(records, order, wfdb_recordings, inputs.scratch)
        with one_core():
            seconds = cpu_seconds(contenders, rounds=rounds)
        rows += _rows(records.samples, seconds)
    return rows


def _contenders(
    records: Records, order: np.ndarray, wfdb_recordings: int, scratch: Path
) -> dict[str, Callable[[], int]]:
    contenders = {READ: lambda: _read(records, order), PAIRS: lambda: _pairs(records, order)}
    if importlib.util.find_spec("torch"):
        folder = scratch / f"copies{records.samples}"
        folder.mkdir()
        contenders[NPY] = _npy_loader(records, order, folder)
        contenders[WFDB] = _wfdb_loader(records, order[:wfdb_recordings], folder)
    return contenders


def _rows(samples: int, seconds: dict[str, float]) -> list[dict]:
    size = {"samples": samples}
    rows = [{"what": name, **size, FIGURE: 1 / each} for name, each in seconds.items()]
    if WFDB in seconds:
        return [{**row, "times_wfdb": row[FIGURE] * seconds[WFDB]} for row in rows]
    skipped = {**size, "skipped": "torch is not installed"}
    return rows + [{"what": name, **skipped} for name in (NPY, WFDB)]


def _read(records: Records, order: np.ndarray) -> int:
    for start in range(0, len(order), BATCH):
        records.read(order[start : start + BATCH])
    return len(order)


def _pairs(records: Records, order: np.ndarray) -> int:
    """Runs the host's part of pre-training: order, partners, reading, reading ahead."""
    size = min(BATCH // 2, len(order))
    batches = pretraining_batches(
        records, [np.sort(order)], examples="patient_pair", batch_size=size, seed=0
    )
    count = len(order) // (2 * size) or 1
    return sum(stack["signal"][0, ..., 0, 0].size for stack in batches.between(0, count))


def _npy_loader(records: Records, order: np.ndarray, folder: Path) -> Callable[[], int]:
    np.save(folder / "all.npy", records.read(order))
    mapped = np.load(folder / "all.npy", mmap_mode="r")
    return _epoch(lambda number: np.array(mapped[number]), len(order))


def _wfdb_loader(records: Records, order: np.ndarray, folder: Path) -> Callable[[], int]:
    for number, signal in enumerate(records.read(order)):
        _write_wfdb(folder / str(number), signal, records.rate_hz)

    def read(number: int) -> np.ndarray:
        record = wfdb.rdrecord(str(folder / str(number)), physical=False, return_res=16)
        return record.d_signal

    return _epoch(read, len(order))


def _write_wfdb(record: Path, signal: np.ndarray, rate_hz: float) -> None:
    """Writes a record in format 16, as wfdb.wrsamp does in 200 ms per record."""
    lines = [f"{record.name} {len(LEADS)} {rate_hz:g} {len(signal)}"]
    sums = signal.sum(axis=0, dtype=np.int64) % 65536
    for lead, first, checksum in zip(LEADS, signal[0], sums, strict=True):
        lines.append(f"{record.name}.dat 16 1000(0)/mV 16 0 {first} {checksum} 0 {lead}")
    record.with_suffix(".hea").write_text("\n".join(lines) + "\n")
    signal.astype("<i2").tofile(record.with_suffix(".dat"))


def _epoch(read: Callable[[int], np.ndarray], count: int) -> Callable[[], int]:
    """Returns a function that runs a shuffled epoch of a DataLoader over `read`."""
    import torch

    class Recordings(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return count

        def __getitem__(self, number: int) -> torch.Tensor:
            return torch.from_numpy(read(number))

    loader = torch.utils.data.DataLoader(Recordings(), batch_size=min(BATCH, count), shuffle=True)

    def epoch() -> int:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker process; on one core, several would wait
        try:
            return sum(len(batch) for batch in loader)
        finally:
            torch.set_num_threads(threads)

    return epoch
