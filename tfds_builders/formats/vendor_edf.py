"""EDF, EDF+, BDF and BDF+ files, gaps included.

ecgdatakit reads EDF+ as well, but no BDF, and joins the parts of an interrupted recording.
"""

import re
from pathlib import Path

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import lead_columns
from tfds_builders.formats import vendor_edf_header
from tfds_builders.formats.vendor_content import (
    MOST_VALUES,
    Channel,
    Content,
    Refused,
    Rhythm,
    later,
)
from tfds_builders.formats.vendor_edf_header import Header
from tfds_builders.recording.leads import LeadRule

LONGEST_GAP_S = 60.0
"""A longer interruption divides a file into recordings; a shorter one becomes missing samples."""
OVERLAP_S = 0.02
"""Largest overlap of two data records that the precision of their times explains."""
ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15\d+(?:\.\d*)?)?\x14")


def read(path: Path, rule: LeadRule) -> Content:
    """Returns the recordings of a file; an interruption of over a minute begins another one.

    Args:
      path: the file.
      rule: the names of leads; signals that are no leads are not decoded.

    Raises:
      Refused: the file is no valid EDF or BDF, or it is longer or shorter than its header says.
    """
    data = path.read_bytes()
    header = vendor_edf_header.parse(data)
    records, notes = _records(data, header)
    onsets_s = _onsets(records, header)
    start = header.start()
    rhythms = []
    for part in _parts(onsets_s, header.duration_s):
        channels = _channels(records[part], onsets_s[part], header, rule)
        rhythms.append(Rhythm(channels, later(start, float(onsets_s[part.start]))))
    return Content(rhythms, time=start, notes=notes, **header.patient())


def _records(data: bytes, header: Header) -> tuple[np.ndarray, list[str]]:
    """Returns the data records, uint8 [record, byte], and notes."""
    start = 256 * (len(header.labels) + 1)
    size = header.sample_bytes * sum(header.samples)
    present = (len(data) - start) // size
    notes = []
    if header.records == -1:
        notes.append("the recorder did not close the EDF file; all complete data records were read")
    elif header.records != present:
        problem = f"holds {present} data records, its header says {header.records}"
        raise Refused("length", f"{problem}; export it again")
    if present == 0:
        raise Refused("length", "holds no complete data record; export it again")
    if (len(data) - start) % size:
        notes.append("bytes after the last data record of EDF were left out")
    records = np.frombuffer(data, np.uint8, present * size, start)
    return records.reshape(present, size), notes


def _onsets(records: np.ndarray, header: Header) -> np.ndarray:
    """Returns the start of each data record in seconds after the start of the file, float64."""
    expected_s = np.arange(len(records)) * header.duration_s
    if not header.is_plus or not header.notes_signals:
        if header.is_interrupted:
            raise Refused("format", "is interrupted but states no times; export it again")
        return expected_s
    columns = header.columns(header.notes_signals[0])
    found = [ONSET.match(record.tobytes()) for record in records[:, columns]]
    if all(found):
        return np.array([float(match[1]) for match in found if match])
    if header.is_interrupted:
        raise Refused("format", "is interrupted, and a part states no time; export it again")
    return expected_s


def _parts(onsets_s: np.ndarray, duration_s: float) -> list[slice]:
    """Returns the data records of each recording: those without a long gap between them."""
    gaps_s = np.diff(onsets_s) - duration_s
    if (gaps_s < -OVERLAP_S).any():
        raise Refused("format", "holds data records that overlap in time; export it again")
    edges = [0, *(np.flatnonzero(gaps_s > LONGEST_GAP_S) + 1).tolist(), len(onsets_s)]
    return [slice(start, end) for start, end in zip(edges[:-1], edges[1:], strict=True)]


def _channels(
    records: np.ndarray, onsets_s: np.ndarray, header: Header, rule: LeadRule
) -> list[Channel]:
    signals = [index for index in range(len(header.labels)) if index not in header.notes_signals]
    names = [header.labels[index] for index in signals]
    try:
        wanted = set(lead_columns(names, "", dict(rule.names)).values())
    except InputError:  # a lead occurs twice: `leads_uv` rejects it
        wanted = set()
    channels = []
    for number, index in enumerate(signals):
        rate_hz = header.samples[index] / header.duration_s
        stored = np.zeros(0)
        if number in wanted:
            values = _decode(records[:, header.columns(index)], header.sample_bytes)
            stored = _with_gaps(values, (onsets_s - onsets_s[0]) * rate_hz)
        gain, offset = header.scale(index)
        unit = header.signals["unit"][index]
        channels.append(Channel(names[number], stored, rate_hz, gain, unit, offset))
    return channels


def _decode(data: np.ndarray, sample_bytes: int) -> np.ndarray:
    """Returns little-endian signed integers [record, sample] from bytes [record, byte]."""
    data = np.ascontiguousarray(data)
    if sample_bytes == 2:
        return data.view("<i2")
    low = data[:, 0::3].astype(np.int32) | data[:, 1::3].astype(np.int32) << 8
    return low | data[:, 2::3].view(np.int8).astype(np.int32) << 16


def _with_gaps(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the samples of the data records one after another, NaN where there are gaps.

    Args:
      values: int [record, sample].
      starts: float [record], position of each record's first sample on the axis of samples. A
        record that begins less than a sample early or late follows without a gap.
    """
    count, width = values.shape
    follows = np.arange(count) * width
    extra = np.rint(starts - follows).astype(int)
    steps = np.diff(extra, prepend=0)
    steps[np.abs(steps) <= 1] = 0
    shift = np.maximum.accumulate(np.cumsum(steps))
    total = int(follows[-1] + shift[-1] + width)
    if total > MOST_VALUES:
        raise Refused("length", f"holds over {MOST_VALUES} samples; export parts of it")
    signal = np.full(total, np.nan)
    signal[(follows + shift)[:, None] + np.arange(width)] = values
    return signal
