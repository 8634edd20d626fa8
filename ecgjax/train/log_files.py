"""Files of a log, which grow line by line. A full disk delays them and never stops training."""

import io
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rich.console
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import image, scalar

# Progress goes to standard error, so that standard output holds results alone.
console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)


class GrowingFile:
    """A file that only grows. What cannot be written now is written with the next lines.

    Nothing is torn: after a full disk the file goes on at the byte where it stopped.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: io.FileIO | None = None
        self._waiting = b""
        self._warned = False

    def append(self, content: bytes) -> None:
        """Writes the content, or keeps it for the next call, with one warning."""
        self._waiting += content
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = io.FileIO(self._path, "a")
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
            self._warned = False
        except OSError as error:
            warn_of_log(self._path, error, known=self._warned)
            self._warned = True

    def close(self) -> None:
        """Writes what waits, if there is room for it now."""
        if self._waiting:
            self.append(b"")
        if self._file:
            self._file.close()


def warn_of_log(path: Path, error: OSError, *, known: bool = False) -> None:
    """Says once that a log cannot be written."""
    if not known:
        console.print(
            f"WARNING: {path}: the log cannot be written ({error.strerror}); training goes on, "
            f"and the log when it can"
        )


class EventFile:
    """Figures and pictures for TensorBoard.

    Written by this thread. The writer of tensorboardX is a thread of its own behind a queue, and
    when it dies of a full disk, the queue fills and the training waits for ever.
    """

    def __init__(self, folder: Path, *, purge_step: int | None):
        """
        Args:
          folder: folder of the events of a run; each process that resumes it adds a file.
          purge_step: TensorBoard hides earlier events from this step on; None hides none.
        """
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        self._file = GrowingFile(folder / name)
        self._add(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float | np.ndarray]) -> None:
        """Adds figures and pictures, uint8 [height, width, 3], of a step."""
        parts = [_summary(name, value) for name, value in values.items()]
        self._add(Event(step=step, summary=Summary(value=parts)))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
        self._file.append(length + checks[0] + content + checks[1])


def _summary(name: str, value: float | np.ndarray) -> Summary.Value:
    if isinstance(value, np.ndarray):
        return image(name, value, dataformats="HWC").value[0]
    return scalar(name, value).value[0]
