"""Recordings of vendors' files in stored form, kept from the listing until the shards are written.

How many recordings a file holds and who their patient is, and so which shard they belong to, is
known only after the file was parsed. Therefore each file is parsed once, before the shards are
planned, and its recordings wait here. A conversion that was interrupted goes on with the files that
are not here yet.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import os
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.signals import LEADS
from tfds_builders.formats import vendor
from tfds_builders.formats.vendor import Sandbox
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import RecordingsConfig

SECONDS_BETWEEN_LINES = 1.0
"""Progress is reported this often."""


@dataclasses.dataclass(frozen=True)
class SpooledRecording:
    """A recording whose samples, if there are any, are in the spool."""

    samples: int = 0
    """Length at the config's rate."""
    flags: tuple[str, ...] = ()
    """Quality flags that the samples do not show."""
    recorded_at: datetime.datetime | None = None
    problem: tuple[str, str] | None = None
    """(reason, message) if it is rejected."""


@dataclasses.dataclass(frozen=True)
class SpooledFile:
    """The recordings of a file, and the facts in it about their patient."""

    recordings: tuple[SpooledRecording, ...]
    patient: str = ""
    age: float | None = None
    sex: str | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Spool:
    """The spool of one conversion."""

    source: Path
    config: RecordingsConfig
    facts: Path
    """Folder for patients and times, which only the holder of the key may see."""
    samples: Path
    """Folder for samples, on the disk of the data set."""

    def read_all(
        self, files: Sequence[str], workers: int, progress: Callable[[int, int], None]
    ) -> dict[str, SpooledFile]:
        """Parses the files that are not in the spool, and returns all in the order of `files`.

        Args:
          files: paths in the source.
          workers: number of sandboxes that parse at a time. Their processes do nearly all the work,
            so that a thread each suffices here.
          progress: called as progress(done, total), at once and then about every second.
        """
        for folder in (self.facts, self.samples):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = {file: self._load(file) for file in files}
        absent = [file for file, spooled in found.items() if spooled is None]
        progress(len(files) - len(absent), len(files))
        reported = time.monotonic()
        for file, spooled in self._parse(absent, workers):
            found[file] = spooled
            absent.pop()
            if not absent or time.monotonic() > reported + SECONDS_BETWEEN_LINES:
                reported = time.monotonic()
                progress(len(files) - len(absent), len(files))
        return {file: spooled for file, spooled in found.items() if spooled is not None}

    def _parse(self, files: Sequence[str], workers: int) -> Iterator[tuple[str, SpooledFile]]:
        """Yields files and their content in the order in which they are ready."""
        with contextlib.ExitStack() as stack:
            sandboxes: queue.SimpleQueue[Sandbox] = queue.SimpleQueue()
            for _ in range(workers):
                sandboxes.put(stack.enter_context(Sandbox(self.config.lead_rule)))
            pool = concurrent.futures.ThreadPoolExecutor(workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            futures = {pool.submit(self._add, file, sandboxes): file for file in files}
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()

    def _add(self, file: str, sandboxes: "queue.SimpleQueue[Sandbox]") -> SpooledFile:
        """Parses a file and adds it to the spool."""
        sandbox = sandboxes.get()
        try:
            key = self._key(file)
            content = sandbox.read(self.source / file)
            recordings = [
                self._add_recording(recording, self._signal_file(key, number), file)
                for number, recording in enumerate(content.recordings)
            ]
            spooled = SpooledFile(
                tuple(recordings), content.patient, content.age, content.sex, content.notes
            )
        except RecordingError as error:
            problem = SpooledRecording(problem=(error.reason, str(error)))
            spooled = SpooledFile((problem,))
        finally:
            sandboxes.put(sandbox)
        _write(self._facts_file(key), json.dumps(dataclasses.asdict(spooled), default=str).encode())
        return spooled

    def _add_recording(
        self, recording: vendor.VendorRecording, path: Path, file: str
    ) -> SpooledRecording:
        try:
            stored = recording.to_stored(self.source / file, self.config.rate_hz)
        except RecordingError as error:
            problem = (error.reason, str(error))
            return SpooledRecording(recorded_at=recording.time, problem=problem)
        _write(path, np.ascontiguousarray(stored.signal, "<i2").tobytes())
        return SpooledRecording(len(stored.signal), stored.flags, recording.time)

    def signal(self, file: str, number: int) -> np.ndarray | None:
        """Returns a recording, int16 [time, 12]; None if it is not in the spool."""
        return _signal(self._signal_file(self._key(file), number))

    def _load(self, file: str) -> SpooledFile | None:
        try:
            path = self._facts_file(self._key(file))
            return _spooled(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def _key(self, file: str) -> str:
        """Returns a name that changes if the file changes."""
        path = f"{self.source}/{file}"
        state = os.stat(path)
        text = f"{path} {state.st_size} {state.st_mtime_ns} {self.config.name}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _facts_file(self, key: str) -> Path:
        return self.facts / f"{key}.json"

    def _signal_file(self, key: str, number: int) -> Path:
        return self.samples / f"{key}-{number}"


@functools.lru_cache(maxsize=1)  # the windows of a recording are read one after another
def _signal(path: Path) -> np.ndarray | None:
    try:
        return np.fromfile(path, "<i2").reshape(-1, len(LEADS))
    except OSError:
        return None


def _spooled(facts: dict[str, Any]) -> SpooledFile:
    recordings = []
    for recording in facts.pop("recordings"):
        text = recording["recorded_at"]
        recording["recorded_at"] = text and datetime.datetime.fromisoformat(text)
        recording["flags"] = tuple(recording["flags"])
        recording["problem"] = recording["problem"] and tuple(recording["problem"])
        recordings.append(SpooledRecording(**recording))
    facts["notes"] = tuple(facts["notes"])
    return SpooledFile(tuple(recordings), **facts)


def _write(path: Path, data: bytes) -> None:
    """Writes a file in one step, so that it is complete if it exists."""
    temporary = path.with_suffix(f".{uuid.uuid4().hex}")
    temporary.write_bytes(data)
    os.replace(temporary, path)
