"""Random damage in everything that a data set or checkpoint of somebody else may bring.

`python -m benchmarks.chaos --only fuzz` reads 100,000 damaged descriptions, tables, configs and
logs in this process. Each is read, or refused with one line, within five seconds; nothing outside
its folder is opened, nothing is imported or run, and the memory stays below 1 GB more.
"""

import codecs
import copy
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.chaos.table import Tally
from ecgjax import encoders
from ecgjax.data import descriptions
from ecgjax.data.files import TABLE
from ecgjax.data.records import Records
from ecgjax.data.table import Table
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.train import manifest
from ecgjax.train.metrics_file import METRICS, RUN, read_lines, read_start
from ecgjax.workflows.cohort import data_names
from tfds_builders.prepare import prepare

LONGEST_S = 5.0
"""Longest time of work, in seconds of the processor: other programs may be at work as well."""
HANGING_S = 30.0
MOST_BYTES = 1e9
DEEP = 3000
"""Levels of nested lists: more than Python's JSON reader takes."""
WORDS: list[Any] = [None, True, -1, 0, 1, 2, 7, 1e308, -1e308, 1e-320, float("nan"), float("inf")]
WORDS += [10**9, 10**12, 10**30, 2**63, "", "x", "../x", "/etc/passwd", "\n", "a\0b", "exec"]
WORDS += ["this", "os.system", "0", "-5", "9" * 30, "٣", "A" * 5000, [], {}, [[]], [None], {"a": 1}]
WORDS += [
    ["1"],
    [8] * 100,
    [8] * 5000,
    ["1"] * 300,
    "zscore_lead",
    "mV",
    "I",
    "train",
    "array_record",
]
PIECES = [b"", b"\0", b"\xff\xfe", b"}", b"{", b"[" * DEEP, b",", b'"', b"9" * 400, b"NaN", b"-"]
PIECES += [b"null", b"1e999", b"\n", b"\n\n", b"PAR1", b"\x19\xfc\xff\xff\xff\xff\x07", b"../"]


class Watch:
    """Notes what is opened and run while it is on."""

    def __init__(self):
        self.events: list[str] | None = None
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple) -> None:
        if self.events is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            self.events.append(os.path.realpath(os.fsdecode(arguments[0])))
        elif event in ("exec", "os.system", "os.exec", "subprocess.Popen", "import") or (
            event.startswith(("pickle.", "marshal.", "socket."))
        ):
            self.events.append(f"{event} {arguments[:1]}")


def fuzz(count: int, seed: int, data: Path | None = None) -> list[Tally]:
    """Reads `count` damaged inputs, a fifth of each kind.

    Args:
      count: number of inputs.
      seed: seed of the damage.
      data: a prepared data set to damage copies of; None: a small simulated one.
    """
    rng = random.Random(seed)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "set"
        source = data or prepare("synthetic/100hz", Path(scratch) / "good", patients=18)
        shutil.copytree(source, folder)
        (folder / "binding.json").unlink(missing_ok=True)
        watch = _watch()
        for where, read in _kinds(folder, rng).items():
            rows.append(_row(where, read, -(-count // 5), folder, watch))
    return rows


_made: list[Watch] = []


def _watch() -> Watch:
    """Returns the process's watch: an audit hook cannot be removed."""
    for size in ("16", "32"):  # Python's JSON reader imports these for bytes that look like them
        for order in ("be", "le"):
            codecs.lookup(f"utf-{size}-{order}")
    return _made[0] if _made else _made.append(Watch()) or _made[0]


def _row(where: str, read: Callable[[], None], tries: int, folder: Path, watch: Watch) -> Tally:
    """Tries one kind of damage; `read` damages and reads."""
    row = Tally("fuzz", where, tries)
    outcomes: Counter[str] = Counter()
    _attempt(read)  # imports what reading needs
    before_bytes = _peak_bytes()
    for _ in range(tries):
        watch.events = []
        started = time.perf_counter()
        worked = time.process_time()
        outcome = _attempt(read)
        seconds = time.perf_counter() - started
        is_slow = time.process_time() - worked > LONGEST_S or seconds > HANGING_S
        events, watch.events = watch.events, None
        outside = [event for event in events if not event.startswith(str(folder))]
        row.seconds.append(seconds)
        outcomes[outcome.partition(" ")[0]] += 1
        if outside or is_slow or outcome not in ("read", "refused"):
            row.tell(f"{where}: {outcome}, {seconds:.1f} s, {outside[:2]}"[:400])
    grown_bytes = _peak_bytes() - before_bytes
    if grown_bytes > MOST_BYTES:
        row.tell(f"{where}: {grown_bytes / 1e9:.1f} GB more memory")
    row.survived = tries - len(row.problems)
    row.note = f"{outcomes['refused']:,} refused, {outcomes['read']:,} read"
    return row


def _attempt(read: Callable[[], None]) -> str:
    try:
        read()
    except InputError as error:
        text = str(error)
        return "refused" if "\n" not in text and len(text) < 1200 else f"MESSAGE {text!r}"
    except BaseException as error:
        return f"TRACEBACK {type(error).__name__}: {error}"
    return "read"


def _kinds(folder: Path, rng: random.Random) -> dict[str, Callable[[], None]]:
    table = pyarrow.parquet.read_table(folder / TABLE)
    return {
        descriptions.FEATURES: _description(folder, descriptions.FEATURES, rng),
        descriptions.INFO: _description(folder, descriptions.INFO, rng),
        f"metadata of {TABLE}": _table(folder, table, rng),
        "config of a checkpoint": lambda: _read_config(folder, rng),
        METRICS: _log(folder, rng),
    }


def _description(folder: Path, name: str, rng: random.Random) -> Callable[[], None]:
    good = (folder / name).read_bytes()

    def read() -> None:
        (folder / name).write_bytes(_damaged_json(good, rng))
        try:
            records = Records(folder, accept_unbound=True)
            records.read(np.arange(min(2, len(records))))
        finally:
            (folder / name).write_bytes(good)

    return read


def _table(folder: Path, table: pa.Table, rng: random.Random) -> Callable[[], None]:
    good = (folder / TABLE).read_bytes()
    about = table.schema.metadata[b"ecgjax"]
    footer = int.from_bytes(good[-8:-4], "little") + 8

    def read() -> None:
        if rng.random() < 0.5:
            text = _damaged_json(about, rng)
            pyarrow.parquet.write_table(
                table.replace_schema_metadata({"ecgjax": text}), folder / TABLE
            )
        else:
            damaged = good[:-footer] + _damaged_bytes(good[-footer:], rng)
            (folder / TABLE).write_bytes(damaged)
        try:
            Table(folder / TABLE, len(table), None).read()
        finally:
            (folder / TABLE).write_bytes(good)

    return read


CONFIG: dict[str, Any] = {
    **manifest.encoder_config("compact_resnet", CompactResnet(widths=(8,)), Preprocessing()),
    "data": "synthetic/100hz:2.0.0",
    "start_data": ["ptb_xl/100hz:2.0.0"],
    "outputs": {"target": "af", "kind": "labels", "names": ["AFIB"], "thresholds": [0.5]},
    "window_s": 5.0,
    "init": {"weights": "0" * 16, "data": "a/b:1.0.0", "init": {"weights": "1" * 16}},
}


def _read_config(folder: Path, rng: random.Random) -> None:
    """Reads a damaged config as a checkpoint with a fitting manifest has it."""
    base = copy.deepcopy(CONFIG)
    name = rng.choice(list(encoders.ENCODERS))
    base["encoder"] = json.loads(json.dumps({"name": name, **encoders.settings(_module(name))}))
    try:
        config = json.loads(_damaged_json(json.dumps(base).encode(), rng))
    except (ValueError, RecursionError):
        raise InputError("no JSON; Orbax refuses it") from None
    fitting = {"config": manifest.json_hash(config)}
    config = manifest.check_config(config, fitting, folder)
    manifest.encoder_from_config(config)
    data_names(config)


def _module(name: str) -> Any:
    return encoders.ENCODERS[name]


def _log(folder: Path, rng: random.Random) -> Callable[[], None]:
    lines = [{"step": step, "loss": 1.0 / step, "time": "x"} for step in range(1, 40)]
    good = "".join(json.dumps(line) + "\n" for line in lines).encode()
    start = json.dumps({"title": "a", "num_steps": 5, "config": {}, "first_start_s": 1.0}).encode()

    def read() -> None:
        damage = _damaged_bytes if rng.random() < 0.5 else _damaged_lines
        (folder / METRICS).write_bytes(damage(good, rng))
        (folder / RUN).write_bytes(_damaged_json(start, rng))
        found, _ = read_lines(folder)
        assert all(isinstance(line["step"], int) for line in found)
        read_start(folder, {"title": "a", "num_steps": 5, "config": {}})

    return read


def _damaged_lines(good: bytes, rng: random.Random) -> bytes:
    lines = good.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = _damaged_json(lines[place], rng)
    return b"\n".join(lines) + b"\n"


def _damaged_json(good: bytes, rng: random.Random) -> bytes:
    """Returns JSON with odd values in some places, or with damaged bytes."""
    if rng.random() < 0.2:
        return _damaged_bytes(good, rng)
    content = json.loads(good)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        holders = list(_holders(content))
        if not holders:
            break
        holder, key = rng.choice(holders)
        choice = rng.random()
        if choice < 0.1:
            del holder[key]
        elif choice < 0.2 and isinstance(holder, dict):
            holder[str(rng.choice(WORDS))[:50]] = holder.pop(key)
        elif choice < 0.3:
            holder[key] = copy.deepcopy(rng.choice(holders)[0])
        else:
            holder[key] = copy.deepcopy(rng.choice(WORDS))
    return json.dumps(content).encode()


def _holders(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yields each (dict or list, key) of a JSON value."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for key, value in list(items)[:200]:
        yield content, key
        yield from _holders(value)


def _damaged_bytes(good: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(good) + 1)
        end = min(len(good), start + rng.randint(0, 8))
        piece = bytes(byte ^ 1 << rng.randrange(8) for byte in good[start:end])
        if rng.random() < 0.6:
            piece = rng.choice(PIECES)
        good = good[:start] + piece + good[end:]
    return good


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
