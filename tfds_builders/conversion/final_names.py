"""Final names of the finished shards, NAME-SPLIT.array_record-00000-of-00002."""

from collections.abc import Callable, Sequence

import tensorflow_datasets as tfds
from tensorflow_datasets.core import splits

from tfds_builders.conversion.plan import Shard


def give(
    written: Sequence[Shard], template: Callable[[str], tfds.core.ShardedFileTemplate]
) -> splits.SplitDict:
    """Renames the shards, drops empty ones, and returns TFDS's description of the splits.

    Args:
      written: the shards of all splits, as they are on disk.
      template: returns the names of a split.
    """
    infos = []
    for split in dict.fromkeys(shard.split for shard in written if shard.kept):
        filled = [shard for shard in written if shard.split == split and shard.kept]
        names = template(split)
        size_bytes = 0
        for index, shard in enumerate(filled):
            name = names.sharded_filepath(shard_index=index, num_shards=len(filled))
            size_bytes += shard.path.rename(name).stat().st_size
        lengths = [len(shard.kept) for shard in filled]
        infos.append(tfds.core.SplitInfo(split, lengths, size_bytes, filename_template=names))
    return splits.SplitDict(infos)
