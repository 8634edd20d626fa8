"""Annotation files of WFDB in MIT format, read strictly.

https://physionet.org/physiotools/wag/annot-5.htm. A file is a sequence of 16-bit words: the upper 6
bits are a code, the lower 10 bits the number of samples since the previous annotation.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from tfds_builders.formats.source_folder import locate
from tfds_builders.recording.quality import RecordingError

NORMAL = 1
"""Code of a normal beat, written N."""
P_PEAK = 24
"""Code of the peak of a P wave, written p."""
T_PEAK = 27
"""Code of the peak of a T wave, written t."""
ONSET = 39
"""Code of the onset of a wave, written (."""
END = 40
"""Code of the end of a wave, written )."""
_LAST_CODE = 49
_SKIP = 59
_NUM = 60
_SUB = 61
_CHN = 62
_AUX = 63
MAX_BYTES = 1 << 20
"""Largest size of a file, over a hundred thousand annotations; a short recording has fewer."""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """A mark in a recording."""

    sample: int
    code: int


def read(path: Path) -> list[Annotation]:
    """Returns the annotations in order of time, without their numbers, channels and texts.

    Raises:
      RecordingError: the file is absent or is not in MIT format.
    """
    path = locate(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"{path}: {error.strerror}"
        raise RecordingError("annotation", f"{problem}; is the source complete?") from error
    if len(data) > MAX_BYTES or len(data) % 2 or data[-2:] != b"\0\0":
        raise _damaged(path, f"{len(data)} bytes without its end")
    annotations = _parse(np.frombuffer(data, "<u2").tolist(), path)
    times = [0, *(annotation.sample for annotation in annotations)]
    if any(second < first for first, second in itertools.pairwise(times)):
        raise _damaged(path, "its annotations are not in order of time")
    return annotations


def _parse(words: list[int], path: Path) -> list[Annotation]:
    annotations = []
    sample = 0
    position = 0
    while words[position]:
        code = words[position] >> 10
        low = words[position] & 0x3FF
        if code == _SKIP:
            sample += _interval(words[position + 1 : position + 3])
            position += 2
        elif code == _AUX:
            position += -(-low // 2)
        elif code <= _LAST_CODE:
            sample += low
            if code:  # 0 is "no annotation", with which wfdb moves the time backwards
                annotations.append(Annotation(sample, code))
        elif code not in (_NUM, _SUB, _CHN):
            raise _damaged(path, f"code {code} does not exist")
        position += 1
        if position >= len(words):
            raise _damaged(path, "it ends within an annotation")
    return annotations


def _interval(words: list[int]) -> int:
    """Returns the signed number of samples in the two words after SKIP, the high word first."""
    high, low = (words + [0, 0])[:2]
    return np.int32(np.uint32(high << 16 | low)).item()


def _damaged(path: Path, problem: str) -> RecordingError:
    message = f"{path}: no annotation file in MIT format ({problem}); fetch it again"
    return RecordingError("annotation", message)
