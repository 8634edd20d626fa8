"""Base class of the builders whose raw files are WFDB records."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tfds_builders.conversion.builder import RecordingsBuilder
from tfds_builders.formats import wfdb, wfdb_header
from tfds_builders.formats.wfdb_header import Header
from tfds_builders.recording.recording import Recording
from tfds_builders.second_readers import wfdb_package
from tfds_builders.second_readers.reading import Reading


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

    def correction(self, record: str) -> wfdb.Correction | None:
        """Returns a function that corrects known errors in the signal lines of a record's header.

        Args:
          record: path of the record in the source, without extension.

        Returns:
          The function, or None if no error is known. It is of module level, since windows of a
          record are cached under it. Recordings that it changes get the flag `corrected`.
        """
        return None

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        record, _ = recording.location
        correct = self.correction(record)
        return wfdb.read_window(self.source, recording, self.builder_config, correct)

    def read_again(self, recording: Recording) -> list[Reading]:
        record, _ = recording.location
        path = self.record_path(recording)
        correct = self.correction(record)
        if correct is None:
            return [wfdb_package.read(path)]
        scales = {}
        for signal in wfdb_header.read(path.with_name(f"{path.name}.hea")).signals:
            corrected = correct(signal)
            scales[signal.name] = corrected.baseline, corrected.uv_per_lsb
        return [wfdb_package.read(path, scales)]
