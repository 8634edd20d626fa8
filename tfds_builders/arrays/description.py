"""arrays.json, the description of the arrays in a folder. Nothing is guessed from the numbers."""

import dataclasses
import json
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
EXAMPLE = (
    '{"rate_hz": 500, "units": "mV", "leads": ["I", "II", "V1", ...], '
    '"axes": ["recording", "time", "lead"]}'
)


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of arrays.json, whose keys are the fields."""

    rate_hz: float
    leads: tuple[str, ...]
    """Names of the leads along the axis `lead`."""
    axes: tuple[str, ...]
    """One of AXES. Without "recording", a file holds one recording. Parquet always has one row per
    recording."""
    units: str
    """A key of UV_PER_UNIT."""
    scale: float = 1.0
    """Number of `units` per LSB: 0.00488 for an ADC with steps of 4.88 uV if `units` is mV."""
    array: str = "signals"
    """Name of the array in npz, HDF5, MATLAB and Zarr."""
    missing: float | None = None
    """Number that stands for a missing sample, in addition to NaN."""

    @property
    def uv_per_lsb(self) -> float:
        """Microvolts per stored number."""
        return self.scale * UV_PER_UNIT[self.units]


def read(folder: Path) -> Description:
    """Reads the description in a folder.

    Raises:
      InputError: the file is absent, or a field of `Description` is absent or invalid.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; write one, such as {EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); write it like {EXAMPLE}") from error
    fields = {field.name for field in dataclasses.fields(Description)}
    optional = {"scale", "array", "missing"}
    if not isinstance(content, dict) or (set(content) ^ fields) - optional:
        given = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        needed = "rate_hz, units, leads, axes, and if needed scale, array, missing"
        raise InputError(f"{path}: has {given[:200]}; give {needed}")
    _check(content, path)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    return Description(**values)


def _check(content: dict[str, Any], path: Path) -> None:
    for key in {"rate_hz", "scale", "missing"} & set(content):
        value = content[key]
        if not _is_number(value) and (key, value) != ("missing", None):
            raise InputError(f"{path}: {key} {value!r:.80}; give a number")
    if not content["rate_hz"] > 0 or content.get("scale") == 0:
        problem = f"{path}: rate_hz must be positive and scale must not be 0"
        raise InputError(f"{problem}; correct them")
    if content["units"] not in [*UV_PER_UNIT]:  # a list cannot be looked up in a dict
        choice = ", ".join(UV_PER_UNIT)
        raise InputError(f"{path}: units {content['units']!r}; give one of {choice}")
    if content["axes"] not in AXES:
        choice = ", ".join(map(str, AXES))
        raise InputError(f"{path}: axes {content['axes']!r}; give one of {choice}")
    if not isinstance(content.get("array", ""), str):
        raise InputError(f"{path}: array {content['array']!r}; give a name")
    names = content["leads"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: leads {names!r:.80}; give a list of names")
    try:
        leads.find(names, path)
    except RecordingError as error:
        raise InputError(str(error)) from error


def _is_number(value: object) -> bool:
    """Tells whether a value of a JSON file is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value < 1e300  # False for NaN
