"""A prepared data set, written by `prepare`: ArrayRecord shards of int16 recordings and a table.

Opening one imports and runs nothing that it names, and opens no file outside its folder. Its files
are bound together by hashes; `binding` explains which hash is compared when.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute

from ecgjax.data import binding, descriptions, files
from ecgjax.data.descriptions import SPLITS
from ecgjax.data.hashes import parse
from ecgjax.data.shards import RecordingDamaged, Shards
from ecgjax.data.stored_sketches import StoredSketches
from ecgjax.data.table import VALID_SAMPLES, Table
from ecgjax.data.watchdog import Reading, watched, watched_file
from ecgjax.errors import InputError
from ecgjax.signals import LEADS

__all__ = ["SPLITS", "Records"]

_compute: Any = pyarrow.compute  # its functions are made at import


class Records:
    """Recordings by index, in the order of the table: first train, then validation, then test.

    Attributes:
      path: the folder with the shards, records.parquet and dataset_info.json.
      name: data set, config and version, e.g. ptb_xl/100hz:2.0.0.
      rate_hz: sampling rate in Hz.
      samples: samples of a recording.
      leads: leads that the data set holds; all samples of the others are missing.
      is_bound: whether its files are bound by hashes; those of format 1 are not.
    """

    def __init__(self, path: str | Path, *, accept_unbound: bool = False):
        """Opens `path` and checks it without reading signals but the first one.

        A data set of format 1 opens with a warning, one line on standard error.

        Args:
          path: the folder that `prepare` printed, or one above it.
          accept_unbound: open a data set without hashes in order to verify and bind it.

        Raises:
          InputError: there is no prepared data set; a file is missing, is damaged, or is not the
            one that was written; or the files contradict each other.
        """
        self.path = files.find(Path(path))
        bound = watched_file(self.path / binding.FILE, lambda: binding.read(self.path))
        description = watched_file(
            self.path / descriptions.FEATURES, lambda: descriptions.read(self.path, bound)
        )
        self._shards = Shards(self.path, description.shards, bound)
        table = files.inside(self.path, files.TABLE)
        self._table = watched_file(table, lambda: Table(table, len(self._shards), bound))
        facts = self._table.facts
        self.name = facts.dataset
        self.rate_hz = facts.rate_hz
        self.samples = facts.samples
        self.leads = facts.leads
        self.is_bound = bound is not None
        self._rows = description.rows
        self._compared = np.zeros(len(self._shards), bool)
        if description.samples != self.samples:
            raise InputError(
                f"{self.path}: recordings of {description.samples} samples in "
                f"{descriptions.FEATURES}, {self.samples} in {files.TABLE}; "
                f"prepare the data set again"
            )
        if not accept_unbound:
            self._require_binding(facts.format)
        self._require_length()

    def _require_binding(self, form: int) -> None:
        """Warns of a data set of format 1, refuses one that has lost its hashes."""
        remedy = f"python -m ecgjax.launch.migrate --data {self.path}"
        if not self.is_bound and form == 1:
            files.warn(
                f"{self.path}: format 1, in which a changed table is not noticed; verify and bind "
                f"it: {remedy}"
            )
        elif not self.is_bound:
            raise InputError(
                f"{self.path / binding.FILE}: is missing; copy the whole folder, or verify and "
                f"bind it anew: {remedy}"
            )

    def _require_length(self) -> None:
        """Refuses a data set whose recordings have another length than the table says.

        A single damaged one is refused when it is read.
        """
        lengths: list[int] = []

        def measure(reading: Reading) -> None:
            for row in sorted({0, len(self) - 1}):
                with contextlib.suppress(RecordingDamaged):
                    for _, features in self._shards.read(np.array([row]), reading.begin):
                        lengths.append(len(features.get("signal", b"")))

        watched(measure)
        if lengths and self._bytes not in lengths:
            raise InputError(
                f"{self.path}: recordings of {lengths[0]} bytes, {self._bytes} by {files.TABLE}; "
                f"prepare the data set again"
            )

    def __len__(self) -> int:
        return len(self._shards)

    @functools.cached_property
    def table(self) -> pyarrow.Table:
        """The table, one row for each recording (columns: see tfds_builders/README.md)."""
        return watched_file(self._table.file, self._table.read)

    def column(self, name: str) -> pyarrow.ChunkedArray:
        """Reads one column of the table.

        Training needs three columns; the whole table takes 1.4 GB for 5 million recordings.
        """
        return watched_file(self._table.file, lambda: self._table.read(name))[name]

    def split(self, name: str) -> np.ndarray:
        """Returns the indices of a split's recordings, ascending.

        Raises:
          InputError: the split has no recording, or others in the table than in the shards.
        """
        in_split = _compute.equal(self.column("split"), name)
        indices = np.flatnonzero(in_split.to_numpy())
        if not len(indices):
            raise InputError(
                f"{self.path}: no recording in split {name!r}; known: {', '.join(SPLITS)}"
            )
        if not np.array_equal(indices, self._rows.get(name, ())):
            raise InputError(
                f"{self._table.file}: the rows of split {name} are not those of its shards; "
                f"prepare the data set again"
            )
        return indices

    @functools.cached_property
    def patients(self) -> np.ndarray:
        """Patient number of each recording, int32 [recording]; one number means one patient."""
        patients = self.column("patient_id").dictionary_encode()
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in patients.chunks])
        return numbers.astype(np.int32)

    @functools.cached_property
    def recorded_at(self) -> np.ndarray:
        """Time of each recording, `datetime64[s]` [recording]; NaT if it is not known."""
        return self.column("recorded_at").to_numpy().astype("datetime64[s]")

    @functools.cached_property
    def valid_samples(self) -> np.ndarray:
        """Samples of each recording up to its last one, int32 [recording]; the rest is padding.

        In data sets of format 1, no recording is padded.
        """
        if VALID_SAMPLES not in self._table.names:
            return np.full(len(self), self.samples, np.int32)
        return self.column(VALID_SAMPLES).to_numpy()

    @functools.cached_property
    def sketches(self) -> StoredSketches:
        """Sketches by index, uint64 [len(indices), 2], which copies of a recording share."""
        records: Any = self  # pyright takes no cached property for a protocol's attribute
        return StoredSketches(records, self._table.has_sketches)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all recordings in their order; one different sample changes it."""
        digest = hashlib.sha256()
        for chunk in self.column("waveform_hash").chunks:
            digest.update("".join(chunk.to_pylist()).encode())
        return digest.hexdigest()[:32]

    def labels(self, indices: np.ndarray | Sequence[int]) -> list[list[str]]:
        """Returns the SCP-ECG statements of each recording."""
        return self.table["labels"].take(np.asarray(indices)).to_pylist()

    def place(self, index: int) -> tuple[Path, str]:
        """Returns the shard and the record id of a recording."""
        return self._shards.shard_file(index), str(self.column("record_id")[index])

    def row(self, index: int) -> dict:
        """Returns one row of the table."""
        return self.table.slice(int(index), 1).to_pylist()[0]

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Reads int16 [*shape of indices, time, lead], 1 uV per LSB, in the order of `indices`.

        Raises:
          RecordingDamaged: a recording differs from what was written, or from its row in the table.
          InputError: a shard does not answer.
        """
        shape = (self.samples, len(LEADS))
        indices = np.asarray(indices)
        rows = indices.reshape(-1)
        out = np.empty((len(rows), *shape), np.dtype("<i2"))

        def fill(reading: Reading) -> None:
            for place, features in self._shards.read(rows, reading.begin):
                out[place] = self._checked_samples(int(rows[place]), features)

        self._read_named(fill)
        return out.reshape(*indices.shape, *shape)

    def _read_named(self, fill: Callable[[Reading], None]) -> None:
        """Reads under a watchdog, and names a damaged recording by its id, too."""
        try:
            watched(fill)
        except RecordingDamaged as error:
            record_id = ""
            with contextlib.suppress(InputError):
                record_id = self.place(error.row)[1]
            named = RecordingDamaged(error.file, error.row, error.cause, record_id)
            raise named from error

    def waves(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Reads the wave of each sample, a number in `WAVES` or `UNMARKED`.

        Returns:
          uint8 [*shape of indices, time].

        Raises:
          InputError: the data set has no wave annotations, or as in `read`.
        """
        indices = np.asarray(indices)
        rows = indices.reshape(-1)
        out = np.empty((len(rows), self.samples), np.uint8)

        def fill(reading: Reading) -> None:
            for place, features in self._shards.read(rows, reading.begin):
                self._checked_samples(int(rows[place]), features)
                out[place] = self._checked_waves(int(rows[place]), features)

        self._read_named(fill)
        return out.reshape(*indices.shape, self.samples)

    def _checked_waves(self, row: int, features: Mapping[str, bytes]) -> np.ndarray:
        if "waves" not in features:
            raise InputError(
                f"{self.path}: its recordings have no waves; choose another task or data set"
            )
        waves = np.frombuffer(features["waves"], np.uint8)
        if len(waves) != self.samples:
            cause = f"{len(waves)} waves, not {self.samples}"
            raise RecordingDamaged(self._shards.shard_file(row), row, cause)
        return waves

    def _checked_samples(self, row: int, features: Mapping[str, bytes]) -> np.ndarray:
        """Returns the samples of a row, after comparing their hash when they are first read.

        SHA-256 takes a fifth of the time of reading 12 leads of 1,000 samples on a processor with
        instructions for it, and as long as reading on others; so it is not taken in every epoch.
        """
        content = features.get("signal", b"")  # empty: a shard that was cut during the run
        self._check_length(row, content)
        if not self._compared[row]:
            digest = hashlib.sha256(content).digest()
            if digest[: self._hashes.shape[1]] != self._hashes[row].tobytes():
                cause = f"its samples are not those of its row in {files.TABLE}"
                raise RecordingDamaged(self._shards.shard_file(row), row, cause)
            self._compared[row] = True
        return np.frombuffer(content, "<i2").reshape(self.samples, len(LEADS))

    def _check_length(self, row: int, content: bytes) -> None:
        if len(content) != self._bytes:
            cause = f"{len(content)} bytes, not {self._bytes}"
            raise RecordingDamaged(self._shards.shard_file(row), row, cause)

    @property
    def _bytes(self) -> int:
        """Bytes of a recording's samples."""
        return self.samples * len(LEADS) * 2  # 2: int16

    @functools.cached_property
    def _hashes(self) -> np.ndarray:
        """Waveform hash of each recording, uint8 [recording, 16]."""
        return parse(self.column("waveform_hash"))
