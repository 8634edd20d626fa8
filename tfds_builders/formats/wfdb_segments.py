"""WFDB records in segments, each of which is a record of its own: read as one, gaps are missing.

https://physionet.org/physiotools/wag/header-5.htm. In the fixed layout, all segments have the same
signals. In the variable layout, each has signals of its own, and a first segment without samples
names them all.
"""

import dataclasses

import numpy as np

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, MISSING, lead_columns, limb_weights
from tfds_builders.formats import wfdb_header, wfdb_record
from tfds_builders.formats.wfdb_header import GAP, Header, Segment
from tfds_builders.formats.wfdb_record import Request
from tfds_builders.recording import leads
from tfds_builders.recording.leads import StoredSignal
from tfds_builders.recording.quality import RecordingError


def read(header: Header, request: Request) -> tuple[StoredSignal, float]:
    """Reads the leads of a record in segments, see `wfdb.read_record`.

    A lead that a segment lacks is missing there. Segments may have the leads in any order.

    Raises:
      RecordingError: a segment is absent or damaged, contradicts the record's header, or no segment
        has a lead that is needed.
    """
    parts = [(segment, _read_header(header, segment, request)) for segment in header.segments]
    parts = [(segment, part) for segment, part in parts if segment.samples]  # without the layout
    held = [_held(part, request) if part else set() for _, part in parts]
    found = set[str]().union(*held)
    standard_names = dataclasses.replace(request.rule, names=())
    leads.find([lead for lead in LEADS if lead in found], header.path, standard_names)
    stored = [
        wfdb_record.read(part, _with_missing(request))[0] if part and some else None
        for (_, part), some in zip(parts, held, strict=True)
    ]
    signals = _fill_gaps(header, [segment for segment, _ in parts], stored)
    flags = dict.fromkeys(flag for one in stored if one for flag in one.flags)
    factor = len(signals) // header.samples
    return StoredSignal(signals, tuple(flags)), factor * header.rate_hz


def extent(header: Header, request: Request) -> tuple[int, float]:
    """Returns the samples of each lead and their rate in Hz, from the first segment with leads.

    Raises:
      RecordingError: it cannot be read.
    """
    for segment in header.segments:
        part = _read_header(header, segment, request) if segment.samples else None
        if part and _held(part, request):
            samples, rate_hz = wfdb_record.extent(part, _with_missing(request))
            return header.samples * samples // segment.samples, rate_hz
    return header.samples, header.rate_hz


def _fill_gaps(
    header: Header, segments: list[Segment], stored: list[StoredSignal | None]
) -> np.ndarray:
    """Returns the samples of all segments, int16 [time, 12], MISSING where one has none."""
    pairs = list(zip(segments, stored, strict=True))
    factors = {len(one.signal) // segment.samples for segment, one in pairs if one}
    if len(factors) != 1:
        problem = f"{header.path}: leads of {len(factors)} different rates in its segments"
        raise RecordingError("format", f"{problem}; convert the record to one rate")
    (factor,) = factors
    signal = np.full((factor * header.samples, len(LEADS)), MISSING, np.int16)
    start = 0
    for segment, one in pairs:
        end = start + factor * segment.samples
        if one:
            signal[start:end] = one.signal
        start = end
    return signal


def _read_header(header: Header, segment: Segment, request: Request) -> Header | None:
    """Returns the header of a segment; None for a gap."""
    if segment.name == GAP:
        return None
    wfdb_header.require_name(segment.name, header.path)
    path = header.path.with_name(f"{segment.name}.hea")
    part = wfdb_header.read(path, request.source, default_hz=header.rate_hz)
    problem = ""
    if part.segments:
        problem = "is divided into segments itself"
    elif part.rate_hz != header.rate_hz:
        problem = f"has {part.rate_hz:g} Hz, the record {header.rate_hz:g} Hz"
    elif segment.samples and part.samples not in (0, segment.samples):
        problem = f"has {part.samples} samples, by the record {segment.samples}"
    if problem:
        raise RecordingError("header", f"{path}: a segment that {problem}; replace the files")
    return dataclasses.replace(part, samples=segment.samples)


def _held(part: Header, request: Request) -> set[str]:
    """Returns the leads of the data set that a segment has, calculated ones included."""
    try:
        names = [signal.name for signal in part.signals]
        columns = lead_columns(names, part.path, dict(request.rule.names))
    except InputError as error:
        raise RecordingError("leads", str(error)) from None
    return {*columns, *limb_weights(tuple(columns))} & {*request.rule.kept}


def _with_missing(request: Request) -> Request:
    return request._replace(rule=dataclasses.replace(request.rule, allow_missing=True))
