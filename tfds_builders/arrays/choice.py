"""The array of a file that holds the recordings: the named one, or the only one that fits.

A file whose description has no axis `recording` may hold an array or a group for each recording.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfds_builders.arrays.description import DEFAULT_ARRAY, Description
from tfds_builders.recording.quality import RecordingError

Shape = tuple[int, ...]


def choose(
    shapes: Mapping[str, Shape], links: Sequence[str], about: Description, path: Path
) -> dict[str, str]:
    """Returns the names of the arrays with recordings, by the part of the file that holds them.

    Args:
      shapes: shape of each array of numbers in the file, by names such as "signals", "rec1/ecg".
      links: names in the file that stand for objects elsewhere, which are not read.
      about: the description of the file.
      path: the file, for the error message.

    Returns:
      {"": NAME} if all recordings are in one array; else the array of each recording, by the
      recording's name in the file.

    Raises:
      RecordingError: there is no array, or nobody can tell which one is meant.
    """
    shapes = {name: shape for name, shape in shapes.items() if _size(shape) > 1}
    wanted = about.array or DEFAULT_ARRAY
    if wanted in shapes:
        return {"": wanted}
    if links:
        problem = f"{path}: has no array {wanted} of its own, but links ({', '.join(links)[:100]})"
        raise RecordingError("format", f"{problem}; write the arrays themselves into the file")
    if not shapes:
        raise RecordingError("format", f"{path}: holds no array of numbers; write it again")
    named = [name for name in shapes if PurePosixPath(name).name == wanted]
    if about.array and not named:
        problem = f"{path}: has no array {about.array!r}, but {_listed(shapes)}"
        raise RecordingError("format", f"{problem}; correct `array` in arrays.json")
    candidates = named or _fitting(shapes, about)
    if len(candidates) == 1:
        return {"": candidates[0]}
    if by_recording := _by_recording(candidates, about):
        return by_recording
    problem = f"{path}: has several arrays ({_listed(shapes)}), none of them named {wanted!r}"
    remedy = 'add the name of the one to read to arrays.json, for example "array": '
    raise RecordingError("format", f'{problem}; {remedy}"{PurePosixPath(next(iter(shapes))).name}"')


def _fitting(shapes: Mapping[str, Shape], about: Description) -> list[str]:
    """Returns the arrays with as many axes as described, or all if there is none."""
    if len(shapes) == 1:
        return list(shapes)
    return [name for name, shape in shapes.items() if len(about.squeeze(shape)) == len(about.axes)]


def _by_recording(names: list[str], about: Description) -> dict[str, str]:
    """Returns the arrays by the recording they hold; empty if several may belong to one."""
    if "recording" in about.axes or not names:
        return {}
    groups = [str(PurePosixPath(name).parent) for name in names]
    if len(set(groups)) == len(names) and "." not in groups:
        return dict(zip(groups, names, strict=True))
    last = [PurePosixPath(name).name for name in names]
    return {name: name for name in names} if len(set(last)) == len(names) else {}


def _size(shape: Shape) -> int:
    return math.prod(shape)


def _listed(names: Mapping[str, Shape]) -> str:
    listed = [f"{name} {list(shape)}" for name, shape in itertools.islice(names.items(), 9)]
    return ", ".join(listed)[:300]
