"""arrays.json: what the arrays of a folder hold. Nothing of it is guessed from the numbers."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.formats.wfdb_header import UV_PER_UNIT
from tfds_builders.recording import leads
from tfds_builders.recording.quality import RecordingError

FILE = "arrays.json"
AXES = (
    ["time", "lead"],
    ["lead", "time"],
    ["recording", "time", "lead"],
    ["recording", "lead", "time"],
)
MOST_BYTES = 1 << 16
EXAMPLE = '{"rate_hz": 500, "units": "mV", "leads": ["I", "II", "V1", ...], "axes": ["recording", "time", "lead"]}'


@dataclasses.dataclass(frozen=True)
class Description:
    """What arrays.json says, its keys being the fields."""

    rate_hz: float
    leads: tuple[str, ...]
    """Names along the axis `lead`."""
    axes: tuple[str, ...]
    """One of AXES. Without "recording" a file holds one recording. Parquet has a row a recording in any case."""
    units: str
    """One of UV_PER_UNIT."""
    scale: float = 1.0
    """`units` per number: 0.00488 if the numbers are of a converter with 4.88 uV a step and units are mV."""
    array: str = "signals"
    """Name of the array in npz, HDF5, MATLAB and Zarr."""
    missing: float | None = None
    """Number that stands for a missing sample; NaN does in any case."""

    @property
    def uv_per_number(self) -> float:
        return self.scale * UV_PER_UNIT[self.units]


def read(folder: Path) -> Description:
    """The description in a folder.

    Raises:
      InputError: there is none, or it is not as the fields of `Description` say.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; write one, such as {EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); write it like {EXAMPLE}") from error
    fields = {field.name: field for field in dataclasses.fields(Description)}
    if not isinstance(found, dict) or (set(found) ^ set(fields)) - {"scale", "array", "missing"}:
        given = ", ".join(map(str, found)) if isinstance(found, dict) else type(found).__name__
        needed = "rate_hz, units, leads, axes, and if needed scale, array, missing"
        raise InputError(f"{path}: has {given[:200]}; give {needed}")
    _check(found, path)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
    }
    return Description(**values)


def _check(found: dict[str, Any], path: Path) -> None:
    numbers = {
        key: found[key] for key in ("rate_hz", "scale", "missing") if found.get(key) is not None
    }
    for key, value in numbers.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise InputError(f"{path}: {key} {value!r}; give a number")
    if not found["rate_hz"] > 0 or found.get("scale") == 0:
        raise InputError(
            f"{path}: rate_hz and scale must not be 0, nor rate_hz negative; correct them"
        )
    if found["units"] not in UV_PER_UNIT:
        raise InputError(f"{path}: units {found['units']!r}; give one of {', '.join(UV_PER_UNIT)}")
    if found["axes"] not in AXES:
        raise InputError(f"{path}: axes {found['axes']!r}; give one of {', '.join(map(str, AXES))}")
    if not isinstance(found.get("array", ""), str):
        raise InputError(f"{path}: array {found['array']!r}; give a name")
    names = found["leads"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: leads {names!r:.80}; give a list of names")
    try:
        leads.find(names, str(path))
    except RecordingError as error:
        raise InputError(str(error)) from error
