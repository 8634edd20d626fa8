"""Shards of a prepared data set: ArrayRecord files of TFDS's examples, read by row number."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ecgjax.data.binding import Binding
from ecgjax.data.files import damage_named, inside
from ecgjax.errors import InputError


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
        self.files = [inside(folder, name) for name, _ in shards]
        self._starts = np.cumsum([0] + [count for _, count in shards])
        if binding:
            for file in self.files:
                binding.check_shard(file)
        counts = [count for _, count in shards]
        self._readers = list(map(_open, self.files, counts))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def shard_file(self, row: int) -> Path:
        """Returns the shard that holds a row."""
        return self.files[int(np.searchsorted(self._starts, row, side="right")) - 1]

    def read(self, rows: np.ndarray) -> Iterator[tuple[int, Mapping[str, bytes]]]:
        """Yields (position in `rows`, features) of each row, shard by shard.

        Raises:
          InputError: a recording differs from what was written; ArrayRecord keeps a hash of each.
        """
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards).tolist():
            wanted = np.flatnonzero(shards == shard)
            places = (rows[wanted] - self._starts[shard]).tolist()
            with damage_named(self.files[shard]):
                examples = self._readers[shard].read(places)
                features = list(map(_features, examples))
            yield from zip(wanted.tolist(), features, strict=True)


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
