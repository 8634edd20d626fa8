"""Base class of the builders whose raw files are WFDB records."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.formats import wfdb
from tfds_builders.formats.wfdb_header import Header
from tfds_builders.recording.recording import Recording


class WfdbBuilder(RecordingsBuilder):
    """A builder whose recordings are windows of WFDB records.

    The location of a recording is (record, window): the record's path in the source, without
    extension, and the number of the window.
    """

    def find_windows(
        self,
        records: Iterable[str | Path],
        describe: Callable[[str, Header | None], Recording],
    ) -> list[Recording]:
        """Returns the windows of all records, for which it reads the headers only.

        Args:
          records: paths in the source, without extension.
          describe: returns the metadata of a record, from its path and its header. The header is
            None if it cannot be read; the record is then rejected in `read_recording`.
        """
        return [
            window
            for record in map(str, records)
            for window in wfdb.find_windows(
                self.source, record, functools.partial(describe, record), self.builder_config
            )
        ]

    def record_path(self, recording: Recording) -> Path:
        """Returns the path of the record that holds a recording, without extension."""
        record, _ = recording.location
        return self.source / record

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        return {"signal": wfdb.read_window(self.source, recording, self.builder_config)}
