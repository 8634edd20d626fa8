"""arrays.json, the description of the arrays in a folder. Nothing is guessed from the numbers."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from ecgjax.signals import UV_PER_UNIT, unit_name
from tfds_builders.recording import leads
from tfds_builders.recording.leads import LeadRule
from tfds_builders.recording.quality import RecordingError

FILE = "arrays.json"
AXES = ("recording", "time", "lead")
"""`time` is needed, `lead` unless there is only one lead. Without "recording", a file holds one
recording, or an array for each one."""
DEFAULT_ARRAY = "signals"
MOST_BYTES = 1 << 16
EXAMPLE = (
    '{"rate_hz": 500, "units": "mV", "leads": ["I", "II", "V1", ...], '
    '"axes": ["recording", "time", "lead"]}'
)


@dataclasses.dataclass(frozen=True)
class Description:
    """The content of arrays.json, whose keys are the fields."""

    rate_hz: float
    units: str
    """V, mV, uV or nV."""
    axes: tuple[str, ...]
    """The order of AXES. Text files and Parquet have no axis of recordings, whatever it says."""
    leads: tuple[str, ...] = ()
    """Names along the axis `lead`; names that stand for no lead are ignored. Text files with names
    of their own need none."""
    scale: float = 1.0
    """Number of `units` per LSB: 0.00488 for an ADC with steps of 4.88 uV if `units` is mV."""
    array: str | None = None
    """Name of the array in npz, HDF5, MATLAB and Zarr; None: DEFAULT_ARRAY, or the only one."""
    missing: float | None = None
    """Number that stands for a missing sample, in addition to NaN."""

    @property
    def uv_per_lsb(self) -> float:
        """Microvolts per stored number."""
        return self.scale * UV_PER_UNIT[self.units]

    def squeeze(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Returns a shape without axes of length 1, if it has too many axes for one recording."""
        if "recording" in self.axes or len(shape) <= len(self.axes):
            return shape
        return tuple(length for length in shape if length > 1)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Tells whether an array has the axes and the leads described."""
        return len(shape) == len(self.axes) and (
            "lead" not in self.axes or shape[self.axes.index("lead")] == len(self.leads)
        )

    def fitting_axes(self, shape: tuple[int, ...]) -> list[tuple[str, ...]]:
        """Returns other axes that a shape would fit; a recording has more samples than leads."""
        return [
            axes
            for axes in _orders(len(self.leads))
            if dataclasses.replace(self, axes=axes).fits(shape)
            and shape[axes.index("time")] == max(shape)
        ]


def read(folder: Path, rule: LeadRule = leads.TWELVE) -> Description:
    """Reads the description in a folder.

    Args:
      folder: the folder of the arrays.
      rule: the leads that the data set holds.

    Raises:
      InputError: the file is absent, a field of `Description` is absent or invalid, or a lead of
        the data set is absent.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; write one, such as {EXAMPLE}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); write it like {EXAMPLE}") from error
    fields = dataclasses.fields(Description)
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    known = {field.name for field in fields}
    if not isinstance(content, dict) or needed - content.keys() or content.keys() - known:
        given = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        remedy = "rate_hz, units, leads, axes, and if needed scale, array, missing"
        raise InputError(f"{path}: has {given[:200]}; give {remedy}")
    _check(content, path)
    names = content.get("leads", [])
    if names:
        _check_leads(names, rule, path)
    values: dict[str, Any] = content | {"units": unit_name(content["units"])}
    values |= {"axes": tuple(content["axes"]), "leads": tuple(names)}
    return Description(**values)


def _check(content: dict[str, Any], path: Path) -> None:
    for key in {"rate_hz", "scale", "missing"} & set(content):
        value = content[key]
        if not _is_number(value) and (key, value) != ("missing", None):
            raise InputError(f"{path}: {key} {value!r:.80}; give a number")
    if not content["rate_hz"] > 0 or content.get("scale") == 0:
        problem = f"{path}: rate_hz must be positive and scale must not be 0"
        raise InputError(f"{problem}; correct them")
    units = content["units"]
    if not isinstance(units, str) or unit_name(units) is None:
        choice = ", ".join(UV_PER_UNIT)
        raise InputError(f"{path}: units {units!r:.80}; give one of {choice}")
    names = content.get("leads", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: leads {names!r:.80}; give a list of names")
    axes = content["axes"]
    if axes not in [list(order) for order in _orders(len(names))]:
        choice = '"time", "lead" and, if a file holds several recordings, "recording"'
        choice += ', in the order of the file; "lead" may be absent if there is one lead'
        raise InputError(f"{path}: axes {axes!r:.80}; give a list of {choice}")
    if not isinstance(content.get("array"), str | None):
        raise InputError(f"{path}: array {content['array']!r:.80}; give a name")


def _check_leads(names: Sequence[str], rule: LeadRule, path: Path) -> None:
    try:
        leads.find(names, path, rule)
    except RecordingError as error:
        raise InputError(str(error)) from error


def _orders(count: int) -> list[tuple[str, ...]]:
    """Returns all valid axes of an array with `count` leads."""
    return [
        order
        for length in (1, 2, 3)
        for order in itertools.permutations(AXES, length)
        if "time" in order and ("lead" in order or count == 1)
    ]


def _is_number(value: object) -> bool:
    """Tells whether a value of a JSON file is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -1e300 < value < 1e300  # False for NaN
