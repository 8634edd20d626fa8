"""LUDB 1.0.1: 200 recordings of 10 s with marked waves.

https://physionet.org/content/ludb/1.0.1/
"""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import LEADS, UNMARKED
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import wfdb, wfdb_annotations, wfdb_header
from tfds_builders.ludb import waves
from tfds_builders.recording import splits
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording

RHYTHMS = {
    "sinus rhythm": "SR",
    "sinus bradycardia": "SBRAD",
    "sinus tachycardia": "STACH",
    "sinus arrhythmia": "SARRH",
    "irregular sinus rhythm": "SARRH",
    "atrial fibrillation": "AFIB",
    "atrial flutter": "AFLT",
}
"""SCP-ECG statement by rhythm, as the comments of a header write it."""


def in_microvolts(signal: wfdb_header.Signal) -> wfdb_header.Signal:
    """Returns a signal line with the gain and baseline that LUDB's integers have.

    The gains and baselines of the published headers scale each lead of each recording to 1 mV peak
    to peak. The integers are microvolts: III = II - I holds exactly in all 200 recordings.
    """
    return signal._replace(uv_per_lsb=1.0, baseline=0)


class Builder(WfdbBuilder):
    """All recordings, with the wave of each sample."""

    RELEASE_NOTES = {"2.0.0": "LUDB 1.0.1, one track of waves for all leads."}
    url = "https://physionet.org/content/ludb/1.0.1/"
    patient_key = b"ecgjax/ludb"

    def find_recordings(self) -> list[Recording]:
        headers = [*self.source.glob("[0-9]*.hea"), *self.source.glob("data/[0-9]*.hea")]
        headers = [path for path in headers if path.stem.isdigit()]
        if not headers:
            problem = f"{self.source}: no data/1.hea"
            raise InputError(f"{problem}; give the folder of LUDB that holds `data`")
        headers.sort(key=lambda path: int(path.stem))
        records = [path.relative_to(self.source).with_suffix("") for path in headers]
        return self.find_windows(records, self._describe)

    def _describe(self, record: str, header: wfdb_header.Header | None) -> Recording:
        name = PurePosixPath(record).name
        return Recording(
            record_id=f"{int(name):03d}",
            source_patient_id=name,
            split=splits.assign_split(name, self.secret()),
            location=None,
            **(_metadata(header.comments) if header else {}),
        )

    def correction(self, record: str) -> wfdb.Correction:
        return in_microvolts

    def read_recording(self, recording: Recording) -> dict[str, Any]:
        return super().read_recording(recording) | {"waves": self._read_waves(recording)}

    def _read_waves(self, recording: Recording) -> np.ndarray:
        """Returns uint8 [config.samples]: the published label nearest to each stored sample."""
        record = self.record_path(recording)
        header = wfdb_header.read(record.with_name(f"{record.name}.hea"))
        labels = np.stack([_label_lead(record, lead, header.samples) for lead in LEADS], axis=1)
        _, window = recording.location
        config = self.builder_config
        stored = window * config.samples + np.arange(config.samples)
        nearest = np.rint(stored * header.rate_hz / config.rate_hz).astype(int)
        marks = waves.majority(labels)[np.minimum(nearest, header.samples - 1)]
        return np.where(nearest <= header.samples, marks, np.uint8(UNMARKED))

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        shape = (self.builder_config.samples,)
        encoding = tfds.features.Encoding.BYTES
        return {"waves": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)}


def _label_lead(record: Path, lead: str, samples: int) -> np.ndarray:
    """Reads the annotation file of a lead as labels, uint8 [samples]."""
    annotations = wfdb_annotations.read(record.with_name(f"{record.name}.{lead.lower()}"))
    if annotations and annotations[-1].sample >= samples:
        problem = f"{record}: an annotation at sample {annotations[-1].sample} of {samples}"
        raise RecordingError("annotation", f"{problem}; fetch the record again")
    return waves.label_lead(annotations, samples)


def _metadata(comments: list[str]) -> dict[str, Any]:
    """Parses the comments of a header; any unexpected text becomes None."""
    fields = {
        name.strip("<> "): value.rstrip(".").casefold()
        for name, value in wfdb_header.fields(comments).items()
    }
    age = fields.get("age", "")
    rhythm = fields.get("rhythm", "")
    return {
        "age": float(age) if re.fullmatch(r"\d{1,3}", age) else None,
        "sex": {"f": "female", "m": "male"}.get(fields.get("sex", "")[:1]),
        "labels": (RHYTHMS[rhythm],) if rhythm in RHYTHMS else (),
    }
