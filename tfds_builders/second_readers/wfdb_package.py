"""WFDB records, read by the package wfdb, the reader written by PhysioNet."""

import contextlib
import tempfile
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecgjax.signals import UV_PER_UNIT, unit_name
from tfds_builders.second_readers.reading import CannotRead, Reading

RECORD = "record"
"""Name of the copy of a record."""
Scales = Mapping[str, tuple[float, float]]
"""Baseline, and microvolts per stored number, by the name of a signal."""


def read(record: Path, scales: Scales | None = None) -> Reading:
    """Reads the signals of a record that are voltages and have the highest rate.

    Args:
      record: path of the record without extension, or of its header.
      scales: replace those of the header, where these are known to be wrong.

    Raises:
      CannotRead: wfdb raises an error, or no signal has a unit of voltage.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb calls deprecated functions of pandas
        import wfdb  # here: it takes a second

        reader = f"wfdb {wfdb.__version__}"
        try:
            with _copy_for_wfdb(_find_header(record)) as copy:
                columns, names, rate_hz = _read(wfdb, copy, scales)
        except Exception as error:  # wfdb raises many kinds
            raise CannotRead(reader, f"{type(error).__name__}: {error}") from error
    longest = max(map(len, columns), default=0)
    kept = [index for index, column in enumerate(columns) if len(column) == longest]
    if not kept:
        raise CannotRead(reader, "no signal in volts")
    value_uv = np.stack([columns[index] for index in kept], axis=1)
    return Reading(reader, tuple(names[index] for index in kept), value_uv, rate_hz)


def _read(
    wfdb: Any, record: str, scales: Scales | None
) -> tuple[list[np.ndarray], list[str], float]:
    """Returns the signals in microvolts, NaN for a missing sample; their names; the highest rate.

    A signal with several samples in a frame is not averaged.
    """
    per_frame = getattr(wfdb.rdheader(record), "samps_per_frame", None) or [1]
    whole = max(per_frame) == 1
    oracle = wfdb.rdrecord(record, smooth_frames=whole)
    values = oracle.p_signal.T if whole else oracle.e_p_signal
    if scales:
        digital = wfdb.rdrecord(record, smooth_frames=whole, physical=False)
        stored = digital.d_signal.T if whole else digital.e_d_signal
    columns = []
    names = []
    for index, (quoted, unit) in enumerate(zip(oracle.sig_name, oracle.units, strict=True)):
        name = urllib.parse.unquote(quoted or "")
        uv_per_unit = UV_PER_UNIT.get(unit_name(unit or "mV") or "")
        if uv_per_unit is None:
            continue
        value_uv = np.asarray(values[index]) * uv_per_unit
        if scales:
            baseline, uv_per_number = scales[name]
            scaled_uv = (stored[index] - baseline) * uv_per_number
            value_uv = np.where(np.isnan(value_uv), np.nan, scaled_uv)
        columns.append(value_uv)
        names.append(name)
    return columns, names, float(oracle.fs) * max(per_frame)


def _find_header(record: Path) -> Path:
    header = _in_any_case(record.with_name(f"{record.name}.hea"))
    return header if header.exists() else record


@contextlib.contextmanager
def _copy_for_wfdb(header: Path) -> Iterator[str]:
    """Yields the path of a record in a folder of its own: a plain header, links to its files.

    The copy has no date, since wfdb rejects the dates of CinC 2021; no µ, since wfdb drops it; and
    its names of signals are quoted as in a URL, since wfdb drops other characters than ASCII.
    """
    with tempfile.TemporaryDirectory() as folder:
        for segment in _copy_header(header, Path(folder), RECORD):
            if segment != "~":
                _copy_header(header.with_name(f"{segment}.hea"), Path(folder), segment)
        yield str(Path(folder) / RECORD)


def _copy_header(header: Path, folder: Path, name: str) -> list[str]:
    """Copies a header under a name that wfdb accepts, links its files, and returns its segments."""
    text = header.read_text("utf-8", "replace").replace("µ", "u").replace("μ", "u")
    lines = [line.split(" #")[0].strip() for line in text.splitlines()]
    first, *others = [line for line in lines if line and not line.startswith("#")]
    own_name, *numbers = first.split()[:4]
    _, divided, segments = own_name.partition("/")
    lines = [" ".join([f"{name}{divided}{segments}", *numbers]), *map(_quote_name, others)]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(line.split()[0] for line in others))
    if divided:
        return names
    for file in names:
        if Path(file).name == file and file != "~":  # other names are never opened
            link = folder / file
            link.unlink(missing_ok=True)
            link.symlink_to(_in_any_case(header.parent.resolve() / file))
    return []


def _quote_name(line: str) -> str:
    """Quotes the name in a signal line, its last field; lines of segments have only two fields."""
    *fields, name = [*line.split(maxsplit=8), ""][:9] if len(line.split()) > 8 else [line, ""]
    return " ".join([*fields, urllib.parse.quote(name, safe=" ")]).strip()


def _in_any_case(path: Path) -> Path:
    if path.exists():
        return path
    alike = (file for file in path.parent.iterdir() if file.name.casefold() == path.name.casefold())
    return next(alike, path)
