"""A recording as a second reader returns it, for `prepare --verify`.

The second readers share no code with the readers of a conversion, but for the table of lead names
and units (`ecgjax.signals`).
"""

from typing import NamedTuple

import numpy as np

from ecgjax.errors import InputError


class Reading(NamedTuple):
    """A whole recording, read by other software."""

    reader: str
    """Name and version of the software."""
    names: tuple[str, ...]
    """Name of each signal, as the file writes it."""
    value_uv: np.ndarray
    """float64 [time, signal], NaN for a missing sample."""
    rate_hz: float


class CannotRead(InputError):
    """The second reader does not read a file; the recording is not compared."""

    def __init__(self, reader: str, reason: object):
        """
        Args:
          reader: name of the software, with its version if it is known.
          reason: its message, which may quote the file.
        """
        super().__init__(f"{reader} cannot read it ({' '.join(str(reason).split())[:200]})")
        self.reader = reader
