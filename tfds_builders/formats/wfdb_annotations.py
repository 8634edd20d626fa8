"""Annotation files of WFDB in the MIT format: https://physionet.org/physiotools/wag/annot-5.htm, read strictly.

A file is a row of 16-bit words: in the upper 6 bits a code, in the lower 10 the samples since the annotation before.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from tfds_builders.formats import wfdb_header
from tfds_builders.recording.quality import RecordingError

NORMAL, P_PEAK, T_PEAK, ONSET, END = 1, 24, 27, 39, 40
"""Codes of what is written N, p, t, ( and )."""
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_LAST_CODE = 49
MAX_BYTES = 1 << 20
"""More than a hundred thousand annotations: a file that is longer is none of a short recording."""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A mark in a recording."""

    sample: int
    code: int


def read(path: Path) -> list[Annotation]:
    """The annotations of a file in order of time; numbers, channels and texts beside them are left out.

    Raises:
      RecordingError: there is no such file, or it is not what the format says.
    """
    wfdb_header.require_plain(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecordingError(
            "annotation", f"{path}: {error.strerror}; is the source complete?"
        ) from error
    if len(data) > MAX_BYTES or len(data) % 2 or data[-2:] != b"\0\0":
        raise _damaged(path, f"{len(data)} bytes without its end")
    return _parse(np.frombuffer(data, "<u2").tolist(), path)


def _parse(words: list[int], path: Path) -> list[Annotation]:
    found, sample, position = [], 0, 0
    while words[position]:
        code, low = words[position] >> 10, words[position] & 0x3FF
        if code == _SKIP:
            high, rest = words[position + 1 : position + 3] + [0] * max(
                0, position + 3 - len(words)
            )
            sample += np.int32(np.uint32(high << 16 | rest)).item()
            position += 2
        elif code == _AUX:
            position += -(-low // 2)
        elif code <= _LAST_CODE:
            sample += low
            found += (
                [Annotation(sample, code)] if code else []
            )  # 0 is "no annotation", with which wfdb sets time back
        elif code not in (_NUM, _SUB, _CHN):
            raise _damaged(path, f"code {code} is none")
        position += 1
        if position >= len(words):
            raise _damaged(path, "it ends within an annotation")
    times = [0, *(annotation.sample for annotation in found)]
    if any(second < first for first, second in itertools.pairwise(times)):
        raise _damaged(path, "its annotations are not in order of time")
    return found


def _damaged(path: Path, what: str) -> RecordingError:
    return RecordingError(
        "annotation", f"{path}: no annotation file in MIT format ({what}); fetch it again"
    )
