"""Single bits flipped in checkpoints, shards and tables: refused or harmless, never silent."""

import functools
import json
import logging
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from benchmarks.chaos.runs import Laboratory, require
from benchmarks.chaos.table import Tally
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.train.checkpoint import find_checkpoint, read_config, read_part
from ecgjax.train.manifest import CheckpointDamaged, changed_arrays


def bit_flips(laboratory: Laboratory, tries: int) -> list[Tally]:
    """Flips bits in a checkpoint, in shards and in the table, a third of the tries each."""
    checkpoint = find_checkpoint(laboratory.unbroken("short"))
    data = next(laboratory.data.rglob("records.parquet")).parent
    kinds: list[tuple[str, Path, str, Callable[[Path], object]]] = [
        ("a checkpoint", checkpoint, "*", _checkpoint_content),
        ("a shard", data, "*.array_record*", _data_content),
        ("the table", data, "records.parquet", _data_content),
    ]
    for name in ("absl", "asyncio"):  # Orbax tells of each read that it abandons
        logging.getLogger(name).setLevel(logging.CRITICAL)
    tallies = []
    for where, folder, pattern, read in kinds:
        tally = Tally("bit flip", where)
        tallies.append(tally)
        with laboratory.workdir() as workdir:
            copy = shutil.copytree(folder, workdir / folder.name)
            read_copy = functools.partial(read, copy)
            expected = read_copy()
            files = [f for f in sorted(copy.rglob(pattern)) if f.is_file() and f.stat().st_size]
            refused = 0
            for _ in range(tries // 3):
                with tally.attempt():
                    refused += _flip(laboratory, files, read_copy, expected, tally)
        tally.note = f"{refused} refused, {tally.survived - refused} harmless, 0 silent"
        if tally.survived < tally.tries:
            tally.note = f"{tally.tries - tally.survived} silent or with a traceback"
    return tallies


def _flip(laboratory, files: list[Path], read: Callable, expected: object, tally: Tally) -> bool:
    """Flips one bit of one of the files; returns whether that was refused."""
    file = laboratory.rng.choice(files)
    content = file.read_bytes()
    byte = laboratory.rng.randrange(len(content))
    bit = 1 << laboratory.rng.randrange(8)
    file.write_bytes(content[:byte] + bytes([content[byte] ^ bit]) + content[byte + 1 :])
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read()
    except InputError as error:
        require("\n" not in str(error), f"{file.name}: more than one line")
        return True
    finally:
        tally.seconds.append(time.monotonic() - start)
        file.write_bytes(content)
    require(_same(found, expected), f"SILENT: {file.name}, byte {byte}, bit {bit}")
    return False


def _checkpoint_content(folder: Path) -> list:
    """Reads a whole checkpoint as a resumed run does."""
    config = read_config(folder)
    manifest = json.loads(next((folder / "manifest").glob("*.json")).read_bytes())
    parts = {name: read_part(folder, name) for name in ("encoder", "train", "data")}
    for name, arrays in parts.items():
        if changed := changed_arrays(name, arrays, manifest):
            raise CheckpointDamaged(f"{folder}: {changed[0]} is not what was saved")
    return [config, *map(np.asarray, jax.tree.leaves(parts))]


def _data_content(folder: Path) -> list:
    """Reads a whole prepared data set."""
    records = Records(folder)
    samples = records.read(np.arange(len(records)))
    return [samples, records.table.to_pydict(), records.rate_hz, records.fingerprint]


def _same(found: object, expected: object) -> bool:
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(_same, found, expected))
    if isinstance(expected, np.ndarray):
        return isinstance(found, np.ndarray) and np.array_equal(found, expected)
    return str(found) == str(expected)
