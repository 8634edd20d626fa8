"""Vendors' files: DICOM read by pydicom, all others by ecgdatakit's own choice of a parser.

Neither runs in the sandbox of the conversion, nor with its corrections.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ecgjax.signals import UV_PER_UNIT, unit_name
from tfds_builders.second_readers.reading import CannotRead, Reading

INTERRUPTED = (b"EDF+D", b"BDF+D")
"""Kinds of files whose data records need not follow each other."""


def read(path: Path, number: int) -> list[Reading]:
    """Returns the readings of a file, one of which is its recording `number`.

    A DICOM file gives one for each multiplex group, and one of all groups of equal length and rate.

    Raises:
      CannotRead: the reader raises an error, reads the first recording only, or closes the gaps of
        the file, so that its windows are others.
    """
    with path.open("rb") as file:
        start = file.read(197)
    is_dicom = start[128:132] == b"DICM"
    if start[192:] in INTERRUPTED:
        raise CannotRead("ecgdatakit", "it closes the gaps of EDF+D and BDF+D")
    if number and not is_dicom:
        raise CannotRead("ecgdatakit", "it reads the first recording of a file only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a conversion has judged them
        try:
            return list(_read_dicom(path)) if is_dicom else [_read_with_ecgdatakit(path)]
        except Exception as error:  # the libraries raise many kinds
            raise CannotRead("pydicom" if is_dicom else "ecgdatakit", error) from error


def _read_dicom(path: Path) -> Iterator[Reading]:
    import pydicom

    dataset = pydicom.dcmread(path)
    reader = f"pydicom {pydicom.__version__}"
    groups = []
    for index, group in enumerate(dataset.WaveformSequence):
        definitions = group.ChannelDefinitionSequence
        names = tuple(
            channel.ChannelSourceSequence[0].CodeMeaning.split(" (")[0] for channel in definitions
        )
        units = [
            UV_PER_UNIT.get(
                unit_name(channel.ChannelSensitivityUnitsSequence[0].CodeValue or "") or "", np.nan
            )
            for channel in definitions
        ]
        value_uv = np.asarray(dataset.waveform_array(index), float) * units
        groups.append(Reading(reader, names, value_uv, float(group.SamplingFrequency)))
    yield from groups
    yield from _join(groups)


def _join(groups: list[Reading]) -> Iterator[Reading]:
    """Yields one reading of all groups that are as long as the first and have other signals."""
    first = groups[0]
    names = list(first.names)
    parts = [first.value_uv]
    for group in groups[1:]:
        is_part = len(group.value_uv) == len(first.value_uv) and group.rate_hz == first.rate_hz
        if is_part and not {*group.names} & {*names}:
            names += group.names
            parts.append(group.value_uv)
    if len(parts) > 1:
        yield first._replace(names=tuple(names), value_uv=np.concatenate(parts, axis=1))


def _read_with_ecgdatakit(path: Path) -> Reading:
    import importlib.metadata

    from ecgdatakit import FileParser  # pyright: ignore[reportMissingImports]

    leads = [lead.to_physical().convert_units("uV") for lead in FileParser.parse(path).leads]
    longest = max(len(lead.samples) for lead in leads)
    leads = [lead for lead in leads if len(lead.samples) == longest]
    reader = f"ecgdatakit {importlib.metadata.version('ecgdatakit')}"
    value_uv = np.stack([np.asarray(lead.samples, float) for lead in leads], axis=1)
    names = tuple(str(lead.label) for lead in leads)
    return Reading(reader, names, value_uv, float(leads[0].sampling_rate))
