"""EDF, EDF+, BDF and BDF+ files for tests."""

import dataclasses
from pathlib import Path

import numpy as np

from ecgjax.signals import LEADS


@dataclasses.dataclass(frozen=True)
class Edf:
    """The header of a file, and the times of its data records."""

    labels: tuple[str, ...] = tuple(f"ECG {lead}" for lead in LEADS)
    units: str | tuple[str, ...] = "uV"
    samples: int | tuple[int, ...] = 500
    """Samples of a data record."""
    kind: str = ""
    """EDF+C, EDF+D, BDF+C or BDF+D; empty for plain EDF or BDF."""
    bits: int = 16
    onsets_s: tuple[float, ...] = ()
    """Times of the data records of EDF+ or BDF+."""
    patient: str = "P77 F 04-MAR-1950 X"
    recording: str = "Startdate 04-MAR-2021 X X X"
    date: str = "04.03.21"
    records: int | None = None
    """Number of data records that the header states, if it is not the true one."""
    gain: float = 1.0

    def content(self, stored: np.ndarray) -> bytes:
        """Returns a file with integers [record, signal, sample], all signals of equal rate."""
        labels = [*self.labels]
        widths = [stored.shape[2]] * len(labels)
        note_bytes = 60
        if self.kind:
            labels.append(f"{self.kind[:3]} Annotations")
            widths.append(note_bytes // (self.bits // 8))
        units = [self.units] * len(labels) if isinstance(self.units, str) else [*self.units, ""]
        limit = 2 ** (self.bits - 1)
        columns = [
            (16, labels),
            (80, [""] * len(labels)),
            (8, units[: len(labels)]),
            (8, [-limit * self.gain] * len(labels)),
            (8, [(limit - 1) * self.gain] * len(labels)),
            (8, [-limit] * len(labels)),
            (8, [limit - 1] * len(labels)),
            (80, [""] * len(labels)),
            (8, widths),
            (32, [""] * len(labels)),
        ]
        start = b"0       " if self.bits == 16 else b"\xffBIOSEMI"
        count = len(stored) if self.records is None else self.records
        fields = [(80, self.patient), (80, self.recording), (8, self.date), (8, "10.00.00")]
        fields += [(8, 256 * (len(labels) + 1)), (44, self.kind), (8, count), (8, 1)]
        fields += [(4, len(labels))]
        fields += [(width, value) for width, values in columns for value in values]
        texts = [str(value)[:width].ljust(width).encode() for width, value in fields]
        records = [self._record(record, index, note_bytes) for index, record in enumerate(stored)]
        return b"".join([start, *texts, *records])

    def _record(self, record: np.ndarray, index: int, note_bytes: int) -> bytes:
        integers = np.ascontiguousarray(record.ravel(), "<i4").view(np.uint8).reshape(-1, 4)
        data = integers[:, : self.bits // 8].tobytes()
        if not self.kind:
            return data
        onset_s = self.onsets_s[index] if self.onsets_s else index
        return data + f"+{onset_s:g}\x14\x14".encode().ljust(note_bytes, b"\0")


def write(
    path: Path, *, seed: int = 0, records: int = 10, width: int = 500, **changes
) -> np.ndarray:
    """Writes a file and returns its samples, int [record, signal, sample].

    Args:
      path: the file.
      seed: of the samples.
      records: number of data records, of a second each.
      width: samples of each signal in a data record.
      changes: fields of `Edf`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = Edf(**changes)
    shape = (records, len(content.labels), width)
    stored = np.random.default_rng(seed).integers(-2000, 2000, shape).astype(np.int32)
    path.write_bytes(content.content(stored))
    return stored
