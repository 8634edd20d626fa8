"""Recordings that a model is applied to: raw files of any format, or a prepared data set."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ecgjax.data import files
from ecgjax.data.inference import divide
from ecgjax.data.records import Records
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, absent_leads_note
from ecgjax.remote import local
from ecgjax.signals import LEADS
from ecgjax.workflows.model_on_files.options import Reading, Share
from tfds_builders.raw_files.samples import Chunk, Facts, Samples, Unit

ALL = Share()
CHUNK_BYTES = 25_000_000
"""Samples of a prepared data set that are read and held at a time."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The units of work of one process."""

    units: list[Unit]
    lines: list[str]
    """Lines for the user: what was detected, and what was left out."""


def open_inputs(
    paths: Sequence[str | Path],
    reading: Reading,
    preprocessing: Preprocessing,
    *,
    scratch: Path,
    out: Path | None = None,
    share: Share = ALL,
    workers: int = 1,
) -> Inputs:
    """Finds the recordings of files, folders and prepared data sets.

    Args:
      paths: paths or URLs.
      reading: options for raw files.
      preprocessing: preprocessing of the model, which determines rate and leads.
      scratch: folder for samples on their way.
      out: the file that will be written, which is no recording.
      share: the recordings that this process takes.
      workers: vendors' files that are parsed at a time.

    Raises:
      InputError: a path does not exist or holds no recording, or an option does not fit.
    """
    if not paths:
        raise InputError("--input: names nothing; give files, a folder or a prepared data set")
    local_paths = [Path(local(path)).expanduser() for path in paths]
    prepared = [path for path in local_paths if _is_prepared(path)]
    raw = [path for path in local_paths if path not in prepared]
    if prepared and (given := reading.changed()):
        problem = f"--{given[0].replace('_', '-')}: {prepared[0]} is a prepared data set"
        raise InputError(f"{problem}, whose recordings are as prepare stored them; leave it out")
    units: list[Unit] = []
    lines: list[str] = []
    for path in prepared:
        records = Records(path)
        lines.append(f"prepared data set {records.name}: {records.path}")
        if note := absent_leads_note(preprocessing, records.leads, records.name):
            lines.append(note)
        units += _prepared_units(records, share)
    if raw:
        found = _raw_inputs(raw, reading, preprocessing, scratch, out, share, workers)
        units += found.units
        lines += found.lines
    return Inputs(units, lines)


def _is_prepared(path: Path) -> bool:
    patterns = [f"{'*/' * depth}{files.TABLE}" for depth in range(files.DEEPEST + 1)]
    return path.is_dir() and any(any(path.glob(pattern)) for pattern in patterns)


def _raw_inputs(
    paths: Sequence[Path],
    reading: Reading,
    preprocessing: Preprocessing,
    scratch: Path,
    out: Path | None,
    share: Share,
    workers: int,
) -> Inputs:
    # Imported late: prepared data sets and --help need not wait for TFDS.
    from tfds_builders.raw_files import detection
    from tfds_builders.raw_files.reading import RawFiles

    detected = detection.detect(paths, reading.dataset, leave=out and out.resolve())
    lines = []
    key_file = reading.patient_key and reading.patient_key.expanduser().resolve()
    options = reading.builder_options(preprocessing.leads)
    if key_file and not key_file.exists():
        lines.append(f"new key: {key_file} (ids of recordings and patients are those of this key)")
    raw_files = RawFiles(preprocessing.rate_hz, options, scratch, key_file, workers)
    units = []
    for part in detected.parts:
        _, config = raw_files.config(part.dataset)
        # Refused at once if no recording of this length can be used.
        divide(config.samples, rate_hz=config.rate_hz, window_s=preprocessing.seconds)
        if part.files is None or not all(file.problem for file in part.files):
            length = f"{config.samples / config.rate_hz:g} s at {config.rate_hz:g} Hz"
            lines.append(f"{part} ({length})")
        units += raw_files.units(part, (share.index, share.count))
    if detected.left_out:
        lines.append(detection.left_out_note(detected.left_out))
    return Inputs(units, lines)


def _prepared_units(records: Records, share: Share) -> list[Unit]:
    size = max(1, CHUNK_BYTES // (records.samples * len(LEADS) * 2))
    start = share.index * len(records) // share.count
    end = (share.index + 1) * len(records) // share.count
    return [
        _prepared_unit(records, np.arange(first, min(first + size, end)))
        for first in range(start, end, size)
    ]


def _prepared_unit(records: Records, indices: np.ndarray) -> Unit:
    about = f"{records.fingerprint} {indices[0]} {len(indices)}"

    def chunks() -> Iterator[Chunk]:
        yield Chunk(_facts(records, indices), records.rate_hz, lambda: _read(records, indices))

    digest = hashlib.sha256(about.encode()).hexdigest()
    return Unit(len(indices), digest, chunks, in_processes=False)


def _facts(records: Records, indices: np.ndarray) -> list[Facts]:
    columns = [_rows(records, name, indices) for name in ("record_id", "patient_id")]
    source = str(records.path)
    return [
        Facts(source, None, None, None, record_id, patient_id)
        for record_id, patient_id in zip(*columns, strict=True)
    ]


def _read(records: Records, indices: np.ndarray) -> Samples:
    flags = _rows(records, "quality", indices)
    accepted = [None] * len(indices)
    valid_samples = records.valid_samples[indices]
    return Samples(records.read(indices), valid_samples, flags, accepted)


def _rows(records: Records, name: str, indices: np.ndarray) -> list:
    return records.column(name).slice(int(indices[0]), len(indices)).to_pylist()
