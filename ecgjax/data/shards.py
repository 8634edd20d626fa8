"""Shards of a prepared data set: ArrayRecord files of TFDS's examples, read by row number."""

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ecgjax.data.binding import Binding
from ecgjax.data.files import damage_named, inside
from ecgjax.data.watchdog import Reading, watched
from ecgjax.errors import InputError, first_line


class RecordingDamaged(InputError):
    """A recording that cannot be read, or is not the one that was written.

    Attributes:
      file: its shard.
      row: its number in the data set.
      cause: what is wrong.
      problem: all of these in words.
    """

    def __init__(self, file: Path, row: int, cause: str, record_id: str = ""):
        self.file = file
        self.row = row
        self.cause = cause
        name = f" ({record_id})" if record_id else ""
        self.problem = f"{file}: recording {row}{name} is damaged: {cause}"
        super().__init__(
            f"{self.problem}; prepare the data set again, or leave it out of pre-training: "
            f"--skip-damaged 0.001"
        )


class Shards:
    """The examples of all shards by row number, in the order of the table.

    Attributes:
      files: the shards.
    """

    def __init__(self, folder: Path, shards: Sequence[tuple[str, int]], binding: Binding | None):
        """Opens every shard once to check that it is there and complete.

        Args:
          folder: the data set.
          shards: (file name, recordings) of every shard.
          binding: the hashes of the shards, if the data set has them.

        Raises:
          InputError: a shard is missing, is damaged, is not the one that was written, or holds
            another number of recordings.
        """
        _allow_open_files(len(shards), folder)
        self._starts = np.cumsum([0] + [count for _, count in shards])
        self.files: list[Path] = []
        self._readers: list[ArrayRecordReader] = []

        def open_all(reading: Reading) -> None:
            for name, _ in shards:
                reading.begin(folder / name)
                self.files.append(inside(folder, name))
                if binding:
                    binding.check_shard(self.files[-1])
            for file, (_, count) in zip(self.files, shards, strict=True):
                reading.begin(file)
                self._readers.append(_open(file, count))

        watched(open_all)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def shard_file(self, row: int) -> Path:
        """Returns the shard that holds a row."""
        return self.files[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def read(
        self, rows: np.ndarray, begin: Callable[[Path], object] = lambda file: None
    ) -> Iterator[tuple[int, Mapping[str, bytes]]]:
        """Yields (position in `rows`, features) of each row, shard by shard.

        Args:
          rows: numbers of the recordings.
          begin: called with each shard before it is read.

        Raises:
          RecordingDamaged: a recording differs from what was written; ArrayRecord keeps a hash of
            each.
        """
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            wanted = np.flatnonzero(shards == shard)
            places = (rows[wanted] - self._starts[shard]).tolist()
            begin(self.files[shard])
            try:
                features = self._features(shard, places)
            except InputError:
                self._refuse_damaged(shard, places)
                raise
            yield from zip(wanted.tolist(), features, strict=True)

    def _features(self, shard: int, places: list[int]) -> list[dict[str, bytes]]:
        with damage_named(self.files[shard]):
            return list(map(_features, self._readers[shard].read(places)))

    def _refuse_damaged(self, shard: int, places: list[int]) -> None:
        """Raises RecordingDamaged for the first place that cannot be read by itself."""
        for place in places:
            try:
                self._features(shard, [place])
            except InputError as error:
                row = int(self._starts[shard]) + place
                cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
                raise RecordingDamaged(self.files[shard], row, first_line(cause)) from error


def _open(file: Path, count: int) -> ArrayRecordReader:
    with damage_named(file):
        # No read-ahead: recordings are read in random order, one at a time.
        reader = ArrayRecordReader(str(file), "readahead_buffer_size:0")
        readable = reader.num_records()
    if readable != count:
        raise InputError(
            f"{file}: is damaged or cut short ({readable} of {count} recordings readable); "
            f"prepare the data set again"
        )
    return reader


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


def _example_class() -> Any:
    """Returns the class of tf.train.Example, as far as it holds bytes.

    TFDS has the same class, but importing TFDS takes seconds, and its own parser is ten times
    slower.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", syntax="proto3")
    for message, name, number, is_repeated, kind in (
        ("Example", "features", 1, False, "Features"),
        ("Features", "feature", 1, True, "Entry"),
        ("Entry", "key", 1, False, field.TYPE_STRING),
        ("Entry", "value", 2, False, "Feature"),
        ("Feature", "bytes_list", 1, False, "BytesList"),
        ("BytesList", "value", 1, True, field.TYPE_BYTES),
    ):
        if not file.message_type or file.message_type[-1].name != message:
            file.message_type.add(name=message)
        added = file.message_type[-1].field.add(name=name, number=number)
        added.label = field.LABEL_REPEATED if is_repeated else field.LABEL_OPTIONAL
        if isinstance(kind, str):
            added.type = field.TYPE_MESSAGE
            added.type_name = f".{kind}"
        else:
            added.type = kind
    pool = descriptor_pool.DescriptorPool()  # its own, since TFDS registers the same names
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Example"))


_EXAMPLE = _example_class()


def _features(example: bytes) -> dict[str, bytes]:
    """Returns the bytes of each feature of an example that is stored as bytes."""
    try:
        entries = _EXAMPLE.FromString(example).features.feature
    except DecodeError as error:
        raise ValueError(f"not an example of TFDS: {error}") from error
    return {entry.key: values[0] for entry in entries if (values := entry.value.bytes_list.value)}
