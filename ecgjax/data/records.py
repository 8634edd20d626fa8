"""A prepared data set: ArrayRecord shards of int16 recordings, and the table beside them, as `prepare` writes them."""

import contextlib
import functools
import hashlib
import json
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.json_format import ParseError
from tensorflow_datasets.proto import tf_example_pb2

from ecgjax.errors import InputError

SPLITS = ("train", "validation", "test")
TABLE = "records.parquet"


class Records:
    """Recordings by index, in the order of the table: all of train, then validation, then test.

    Attributes:
      path: the folder with the shards, records.parquet and dataset_info.json.
      name: data set, config and version, e.g. ptb_xl/100hz:1.0.0.
      rate_hz: sampling rate in Hz.
      samples: samples of a recording.
    """

    def __init__(self, path: str | Path):
        """Opens `path` and checks it without reading signals.

        Raises:
          InputError: no prepared data set there, or a shard is missing, damaged or has another number of recordings
            than the data set says.
        """
        self.path = _prepared_folder(Path(path))
        self._rows, about = _about(self.path / TABLE)
        self.name, self.rate_hz, self.samples = (
            about["dataset"],
            float(about["rate_hz"]),
            int(about["samples"]),
        )
        self._shards = _shards(self.path)
        self._starts = np.cumsum([0] + [count for _, count in self._shards])
        if self._starts[-1] != self._rows:
            raise InputError(
                f"{self.path}: the shards hold {self._starts[-1]} recordings, {TABLE} {self._rows}; "
                f"prepare the data set again"
            )

    def __len__(self) -> int:
        return self._rows

    @functools.cached_property
    def table(self) -> pyarrow.Table:
        """One row a recording (columns: see tfds_builders/README.md)."""
        return _read_table(self.path / TABLE)

    def split(self, name: str) -> np.ndarray:
        """Indices of a split's recordings, ascending."""
        mine = pyarrow.compute.equal(self.column("split"), name)  # pyright: ignore[reportAttributeAccessIssue]
        indices = np.flatnonzero(mine.to_numpy())
        if not len(indices):
            raise InputError(
                f"{self.path}: no recording in split {name!r}; known: {', '.join(SPLITS)}"
            )
        return indices

    @functools.cached_property
    def patients(self) -> np.ndarray:
        """int32 [recording]: equal numbers mean the same patient."""
        patients = self.column("patient_id").dictionary_encode()
        return np.concatenate([chunk.indices.to_numpy() for chunk in patients.chunks]).astype(
            np.int32
        )

    @functools.cached_property
    def recorded_at(self) -> np.ndarray:
        """datetime64[s] [recording]: when it was made, NaT where that is not known."""
        return self.column("recorded_at").to_numpy().astype("datetime64[s]")

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash over all recordings in their order: two data sets that differ in one sample differ here."""
        digest = hashlib.sha256()
        for chunk in self.column("waveform_hash").chunks:
            digest.update("".join(chunk.to_pylist()).encode())
        return digest.hexdigest()[:32]

    def labels(self, indices: np.ndarray | Sequence[int]) -> list[list[str]]:
        """SCP-ECG statements of each recording."""
        return self.table["labels"].take(np.asarray(indices)).to_pylist()

    def row(self, index: int) -> dict:
        """One row of the table."""
        return self.table.slice(int(index), 1).to_pylist()[0]

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """int16 [*shape of indices, time, lead], 1 uV per LSB, in the order asked for.

        Raises:
          InputError: a recording is not what was written; ArrayRecord keeps a hash of each.
        """
        return self._feature("signal", indices, np.dtype("<i2"), (self.samples, 12))

    def waves(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """uint8 [*shape of indices, time]: the number in `WAVES` of each sample, or `UNMARKED`.

        Raises:
          InputError: the data set does not say where waves are.
        """
        return self._feature("waves", indices, np.dtype(np.uint8), (self.samples,))

    def _feature(
        self, name: str, indices: np.ndarray | Sequence[int], kind: np.dtype, shape: tuple
    ) -> np.ndarray:
        indices = np.asarray(indices)
        rows = indices.reshape(-1)
        out = np.empty((len(rows), *shape), kind)
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shard_of):
            wanted = np.flatnonzero(shard_of == shard)
            positions = (rows[wanted] - self._starts[shard]).tolist()
            for place, example in zip(wanted, self._examples(int(shard), positions), strict=True):
                # TFDS's own parser is slower by an order of magnitude; the stored form is the array's bytes.
                features = tf_example_pb2.Example.FromString(example).features.feature  # pyright: ignore[reportAttributeAccessIssue]
                if name not in features:
                    raise InputError(
                        f"{self.path}: its recordings have no {name}; choose another task or data set"
                    )
                out[place] = np.frombuffer(features[name].bytes_list.value[0], kind).reshape(shape)
        return out.reshape(*indices.shape, *shape)

    def column(self, name: str) -> pyarrow.ChunkedArray:
        """A column of the table."""
        # Read alone: of 5 million recordings the whole table takes 1.4 GB, and training needs three columns.
        return _read_table(self.path / TABLE, name)[name]

    def _examples(self, shard: int, positions: list[int]) -> list[bytes]:
        file, _ = self._shards[shard]
        try:
            return _open_shard(str(file)).read(positions)
        except (RuntimeError, ValueError) as error:  # of the C++ reader
            raise InputError(
                f"{file}: damaged ({_first_line(error)}); prepare the data set again"
            ) from error


def _prepared_folder(path: Path) -> Path:
    """`path`, or the one prepared data set below it (name/config/version)."""
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; give the folder that ecgjax.launch.prepare printed"
        )
    found = sorted(table.parent for table in path.rglob(TABLE)) if path.is_dir() else []
    if len(found) != 1:
        several = (
            f"{len(found)} prepared data sets ({', '.join(map(str, found[:4]))})"
            if found
            else "no prepared data set"
        )
        raise InputError(f"{path}: {several}; give one that ecgjax.launch.prepare wrote")
    return found[0]


def _about(file: Path) -> tuple[int, dict]:
    """Rows of records.parquet, and what it says of the data set."""
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
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{file}: damaged, or not written by ecgjax.launch.prepare ({_first_line(error)}); "
            f"prepare the data set again"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:120]


def _shards(folder: Path) -> list[tuple[Path, int]]:
    """(file, recordings) of every shard in the order of the table, each opened once to see that it is whole."""
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
            f"{folder}: dataset_info.json or features.json cannot be read ({_first_line(error)}); "
            f"prepare the data set again"
        ) from error
    _allow_open(len(shards), folder)
    for file, count in shards:
        found = _open_shard(str(file)).num_records() if file.exists() else None
        if found != count:
            problem = (
                "is missing"
                if found is None
                else f"is damaged or cut short ({found} of {count} recordings readable)"
            )
            raise InputError(f"{file}: {problem}; prepare the data set again")
    return shards


def _allow_open(files: int, folder: Path) -> None:
    """Shards stay open, five million recordings are 4,900 of them, and a process may open 1,024 unless it asks."""
    needed = files + 512  # libraries, checkpoints and logs open some too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise InputError(
            f"{folder}: {files} shards, but a process may open {hard} files; raise ulimit -n to {needed}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@functools.cache
def _open_shard(file: str) -> ArrayRecordReader:
    # No read-ahead: recordings are asked for in random order, each in one read of its own.
    return ArrayRecordReader(file, "readahead_buffer_size:0")
