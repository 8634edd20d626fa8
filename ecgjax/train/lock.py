"""One run at a time in a folder: a second one is refused with the process that is at work."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import jax

from ecgjax.errors import InputError
from ecgjax.train.log_files import console

FILE = ".lock"
"""Name of the lock in the folder. It stays there; only a living process holds it."""
_held: set[tuple[int, int]] = set()
"""Device and number of the locks that this process holds."""


@contextlib.contextmanager
def locked(folder: Path, option: str, shown: Path | None = None) -> Iterator[None]:
    """Holds a folder for this process. The system lets go of it when the process ends, however.

    It works between the nodes of a cluster if the file system passes locks on, as NFS 4, Lustre
    (mounted with flock) and GPFS do. A file system without locks is used with a warning. With
    several processes the first one holds the folder for all. A process that holds a folder may lock
    it once more, as a command and the training within it do.

    Args:
      folder: the folder, which is made.
      option: the option that names the folder, for messages.
      shown: what to call the folder in messages; None: its name.

    Raises:
      InputError: another process holds it, or no file can be made in it.
    """
    if jax.process_index():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder}: not a folder; give another {option}") from error
    except OSError as error:
        problem = f"{folder}: no files can be written to it ({error.strerror})"
        raise InputError(f"{problem}; give another folder as {option}") from error
    status = os.fstat(number)
    identity = (status.st_dev, status.st_ino)
    if identity in _held:
        os.close(number)
        yield
        return
    try:
        _take(number, shown or folder, option)
        _held.add(identity)
        yield
    finally:
        _held.discard(identity)
        os.close(number)


def _take(number: int, folder: Path, option: str) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(number, 1000).decode(errors="replace").strip() or "another process"
        raise InputError(
            f"{folder}: in use by {holder}; wait until it has ended, or give another {option}"
        ) from error
    except OSError as error:
        console.print(
            f"WARNING: {folder}: this file system has no locks ({error.strerror}); make sure that "
            f"no other process uses the folder"
        )
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(number, 0)
        os.write(number, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
