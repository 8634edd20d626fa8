"""The recordings in files of several kinds: arrays, text and Parquet."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfds_builders.arrays import choice, containers, parquet
from tfds_builders.arrays.containers import Index
from tfds_builders.arrays.description import Description
from tfds_builders.formats import text_signals
from tfds_builders.formats.source_folder import has_ending
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.quality import RecordingError

MAX_VALUES = 30_000_000
"""Largest number of samples of all leads of a recording, 40 minutes of 12 leads at 1000 Hz: a
worker of the conversion must hold them in memory."""
STORES = (".zarr",)
"""Endings of folders that count as one file."""
PARQUET = (".parquet", ".pq")
ENDINGS = (*containers.KINDS, *PARQUET, *text_signals.ENDINGS)
ONE_OF_SEVERAL = (
    "arrays beside others in their file, each read as a recording; if they are no recordings of "
    "their own, name the right one as `array` in arrays.json"
)


class Place(NamedTuple):
    """The place of a recording in its file."""

    samples: int
    array: str = ""
    """Name of the array, in a file with arrays."""
    index: int = 0
    """Number of the recording along the axis `recording`, or of the row in Parquet."""
    notes: tuple[str, ...] = ()
    """Parts of the file that are left out, and other facts that users should know."""


class Signals(NamedTuple):
    """A recording as it is in its file."""

    value_uv: np.ndarray
    """float64 [time, signal], NaN for a missing sample."""
    names: tuple[str, ...]
    """Name of each signal."""


def find(path: Path, about: Description, rule: LeadRule) -> dict[str, Place]:
    """Returns the recordings of a file by their names in it.

    The name is empty if the file holds one recording; otherwise it is a number, or the name of an
    array or group.

    Raises:
      RecordingError: the file cannot be read, or contradicts arrays.json.
    """
    if has_ending(path, text_signals.ENDINGS):
        extent = text_signals.measure(path, expected(about, rule))
        return {"": Place(extent.samples, notes=extent.notes)}
    if has_ending(path, PARQUET):
        counts = parquet.lengths(path, about.leads)
        return _by_number(path, [Place(count, index=row) for row, count in enumerate(counts)])
    arrays = containers.find(path)
    shapes = {name: array.shape for name, array in arrays.items()}
    chosen = choice.choose(shapes, containers.links(path), about, path)
    if "recording" not in about.axes:
        places = {key: _place(shapes[name], name, about) for key, name in chosen.items()}
        by_array = "" not in chosen and chosen.keys() == {*chosen.values()}
        notes = (ONE_OF_SEVERAL,) * by_array
        return {key: place._replace(notes=notes) for key, place in places.items()}
    (name,) = chosen.values()
    _require_fit(shapes[name], about, _label(path, name))
    samples = shapes[name][about.axes.index("time")]
    count = shapes[name][about.axes.index("recording")]
    return _by_number(path, [Place(samples, name, index) for index in range(count)])


def _by_number(path: Path, places: list[Place]) -> dict[str, Place]:
    if not places:
        raise RecordingError("shape", f"{path}: holds no recording; leave the file out")
    return {str(place.index): place for place in places}


def _place(shape: tuple[int, ...], name: str, about: Description) -> Place:
    """Returns the place of the only recording in an array; a wrong shape is found by `read`."""
    shape = about.squeeze(shape)
    return Place(shape[about.axes.index("time")] if about.fits(shape) else 0, name)


def read(path: Path, place: Place, about: Description, rule: LeadRule) -> Signals:
    """Reads a recording.

    Raises:
      RecordingError: as in `find`, or it is too long or holds no real numbers.
    """
    if place.samples * max(1, len(about.leads)) > MAX_VALUES:
        problem = f"{path}: {place.samples} samples"
        remedy = f"give recordings of {MAX_VALUES} numbers at most"
        raise RecordingError("length", f"{problem}; {remedy}")
    names = about.leads
    if has_ending(path, text_signals.ENDINGS):
        numbers, names = text_signals.read(path, expected(about, rule))
    elif has_ending(path, PARQUET):
        numbers = parquet.read(path, place.index, about.leads)
    else:
        numbers = _read_array(path, place, about)
    if numbers.dtype.kind not in "fiu":
        problem = f"{path}: numbers of type {numbers.dtype}"
        raise RecordingError("format", f"{problem}; give real ones")
    numbers = numbers.astype(np.float64)
    if about.missing is not None:
        numbers[numbers == about.missing] = np.nan
    return Signals(numbers * about.uv_per_lsb, names)


def _read_array(path: Path, place: Place, about: Description) -> np.ndarray:
    """Reads one recording of an array as [time, lead]."""
    array = containers.find(path)[place.array]
    shape = about.squeeze(array.shape)
    _require_fit(shape, about, _label(path, place.array))
    index: Index = (slice(None),) * len(array.shape)
    if "recording" in about.axes:
        index = tuple(place.index if axis == "recording" else slice(None) for axis in about.axes)
    axes = [axis for axis in about.axes if axis != "recording"]
    lengths = [length for axis, length in zip(about.axes, shape, strict=True) if axis in axes]
    numbers = np.asarray(array[index]).reshape(lengths)
    if "lead" not in axes:
        return numbers[:, None]
    return numbers if axes == ["time", "lead"] else numbers.T


def _require_fit(shape: tuple[int, ...], about: Description, label: str) -> None:
    if about.fits(shape):
        return
    problem = f"{label}: shape {list(shape)}, not {' x '.join(about.axes)}"
    problem += f" with {len(about.leads)} leads"
    remedy = "correct arrays.json or the file"
    if fitting := about.fitting_axes(shape):
        remedy = f"axes {json.dumps(list(fitting[0]))} in arrays.json would fit"
    raise RecordingError("shape", f"{problem}; {remedy}")


def _label(path: Path, array: str) -> str:
    return f"{path}: array {array}" if array else str(path)


def expected(about: Description, rule: LeadRule) -> text_signals.Expected:
    """Returns the description for text files."""
    return text_signals.Expected(
        about.leads,
        about.units,
        about.rate_hz,
        by_lead="lead" in about.axes and about.axes.index("lead") < about.axes.index("time"),
        lead_names=rule.names,
    )
