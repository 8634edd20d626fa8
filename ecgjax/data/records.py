"""A prepared data set, written by `prepare`: ArrayRecord shards of int16 recordings and a table."""

import contextlib
import functools
import hashlib
import json
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.json_format import ParseError
from tensorflow_datasets.proto import tf_example_pb2

from ecgjax.errors import InputError, first_line
from ecgjax.signals import LEADS

_EXAMPLE: Any = tf_example_pb2.Example  # type: ignore[attr-defined]  # made at import
SPLITS = ("train", "validation", "test")
TABLE = "records.parquet"


class Records:
    """Recordings by index, in the order of the table: first train, then validation, then test.

    Attributes:
      path: the folder with the shards, records.parquet and dataset_info.json.
      name: data set, config and version, e.g. ptb_xl/100hz:1.0.0.
      rate_hz: sampling rate in Hz.
      samples: samples of a recording.
    """

    def __init__(self, path: str | Path):
        """Opens `path` and checks it without reading signals.

        Raises:
          InputError: there is no prepared data set, or a shard is missing, is damaged, or holds
            another number of recordings than the data set says.
        """
        self.path = _prepared_folder(Path(path))
        self._rows, facts = _table_facts(self.path / TABLE)
        self.name: str = facts["dataset"]
        self.rate_hz = float(facts["rate_hz"])
        self.samples = int(facts["samples"])
        self._shards = _shards(self.path)
        self._starts = np.cumsum([0] + [count for _, count in self._shards])
        if self._starts[-1] != self._rows:
            raise InputError(
                f"{self.path}: the shards hold {self._starts[-1]} recordings, {TABLE} "
                f"{self._rows}; prepare the data set again"
            )

    def __len__(self) -> int:
        return self._rows

    @functools.cached_property
    def table(self) -> pyarrow.Table:
        """The table, one row for each recording (columns: see tfds_builders/README.md)."""
        return _read_table(self.path / TABLE)

    def split(self, name: str) -> np.ndarray:
        """Returns the indices of a split's recordings, ascending.

        Raises:
          InputError: the split has no recording.
        """
        compute: Any = pyarrow.compute  # its functions are made at import
        in_split = compute.equal(self.column("split"), name)
        indices = np.flatnonzero(in_split.to_numpy())
        if not len(indices):
            raise InputError(
                f"{self.path}: no recording in split {name!r}; known: {', '.join(SPLITS)}"
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
        """Time of each recording, datetime64[s] [recording]; NaT if it is not known."""
        return self.column("recorded_at").to_numpy().astype("datetime64[s]")

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

    def row(self, index: int) -> dict:
        """Returns one row of the table."""
        return self.table.slice(int(index), 1).to_pylist()[0]

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Reads int16 [*shape of indices, time, lead], 1 uV per LSB, in the order of `indices`.

        Raises:
          InputError: a recording differs from what was written; ArrayRecord keeps a hash of each.
        """
        return self._feature("signal", indices, np.dtype("<i2"), (self.samples, len(LEADS)))

    def waves(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Reads the wave of each sample, a number in `WAVES` or `UNMARKED`.

        Returns:
          uint8 [*shape of indices, time].

        Raises:
          InputError: the data set has no wave annotations.
        """
        return self._feature("waves", indices, np.dtype(np.uint8), (self.samples,))

    def _feature(
        self, name: str, indices: np.ndarray | Sequence[int], kind: np.dtype, shape: tuple
    ) -> np.ndarray:
        indices = np.asarray(indices)
        rows = indices.reshape(-1)
        out = np.empty((len(rows), *shape), kind)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards):
            wanted = np.flatnonzero(shards == shard)
            positions = (rows[wanted] - self._starts[shard]).tolist()
            for row, example in zip(wanted, self._examples(int(shard), positions), strict=True):
                out[row] = np.frombuffer(self._stored(name, example), kind).reshape(shape)
        return out.reshape(*indices.shape, *shape)

    def _stored(self, name: str, example: bytes) -> bytes:
        """Returns the bytes of one feature. TFDS's own parser is ten times slower."""
        features = _EXAMPLE.FromString(example).features.feature
        if name not in features:
            raise InputError(
                f"{self.path}: its recordings have no {name}; choose another task or data set"
            )
        return features[name].bytes_list.value[0]

    def column(self, name: str) -> pyarrow.ChunkedArray:
        """Reads one column of the table.

        Training needs three columns; the whole table takes 1.4 GB for 5 million recordings.
        """
        return _read_table(self.path / TABLE, name)[name]

    def _examples(self, shard: int, positions: list[int]) -> list[bytes]:
        file, _ = self._shards[shard]
        try:
            return _open_shard(str(file)).read(positions)
        except (RuntimeError, ValueError) as error:  # of the C++ reader
            raise InputError(
                f"{file}: damaged ({first_line(error)}); prepare the data set again"
            ) from error


def _prepared_folder(path: Path) -> Path:
    """Returns `path`, or the one prepared data set below it (name/config/version)."""
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; give the folder that ecgjax.launch.prepare printed"
        )
    folders = sorted(table.parent for table in path.rglob(TABLE))
    if len(folders) == 1:
        return folders[0]
    problem = "no prepared data set"
    if folders:
        problem = f"{len(folders)} prepared data sets ({', '.join(map(str, folders[:4]))})"
    raise InputError(f"{path}: {problem}; give one that ecgjax.launch.prepare wrote")


def _table_facts(file: Path) -> tuple[int, dict]:
    """Returns the number of rows of the table, and its facts about the data set."""
    with _damage_named(file):
        metadata = pyarrow.parquet.read_metadata(file)
        return metadata.num_rows, json.loads((metadata.metadata or {})[b"ecgjax"])


def _read_table(file: Path, *columns: str) -> pyarrow.Table:
    with _damage_named(file):
        return pyarrow.parquet.read_table(
            file, columns=list(columns) or None, read_dictionary=["split"]
        )


@contextlib.contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Turns errors of a damaged file into an InputError that names the file."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{file}: damaged, or not written by ecgjax.launch.prepare ({first_line(error)}); "
            f"prepare the data set again"
        ) from error


def _shards(folder: Path) -> list[tuple[Path, int]]:
    """Returns (file, recordings) of every shard in the order of the table.

    Each shard is opened once to check that it is complete.
    """
    try:
        splits = tfds.builder_from_directory(folder).info.splits
        shards = [
            (Path(file), count)
            for split in SPLITS
            if split in splits
            for file, count in zip(
                splits[split].filepaths, splits[split].shard_lengths, strict=True
            )
        ]
    except (OSError, ValueError, KeyError, ParseError) as error:
        raise InputError(
            f"{folder}: dataset_info.json or features.json cannot be read ({first_line(error)}); "
            f"prepare the data set again"
        ) from error
    _allow_open_files(len(shards), folder)
    for file, count in shards:
        _check_shard(file, count)
    return shards


def _check_shard(file: Path, count: int) -> None:
    if not file.exists():
        raise InputError(f"{file}: is missing; prepare the data set again")
    readable = _open_shard(str(file)).num_records()
    if readable != count:
        raise InputError(
            f"{file}: is damaged or cut short ({readable} of {count} recordings readable); "
            f"prepare the data set again"
        )


def _allow_open_files(files: int, folder: Path) -> None:
    """Raises the process's limit of open files, 1,024 by default.

    Shards stay open, and five million recordings have 4,900 of them.
    """
    needed = files + 512  # libraries, checkpoints and logs open some too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InputError(
            f"{folder}: {files} shards, but a process may open {hard} files; "
            f"raise ulimit -n to {needed}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@functools.cache
def _open_shard(file: str) -> ArrayRecordReader:
    # No read-ahead: recordings are read in random order, one at a time.
    return ArrayRecordReader(file, "readahead_buffer_size:0")
