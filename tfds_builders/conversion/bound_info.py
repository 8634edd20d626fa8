"""The last step of a conversion: the manifest of hashes beside TFDS's descriptions."""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from ecgjax.data.binding import write


class BoundInfo(tfds.core.DatasetInfo):
    """TFDS's description of a data set, which binds the data set's files after the last of them.

    TFDS writes its descriptions after everything else, into the folder that it then moves into
    place; a finished data set is thus never without its manifest.
    """

    def write_to_directory(self, dataset_info_dir: Any, all_metadata: bool = True) -> None:
        """Writes dataset_info.json and features.json, then the hashes of all files."""
        super().write_to_directory(dataset_info_dir, all_metadata)
        write(Path(dataset_info_dir))
