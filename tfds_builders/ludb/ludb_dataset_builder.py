"""LUDB 1.0.1: 200 recordings of 10 s with marked waves, https://physionet.org/content/ludb/1.0.1/."""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from ecgjax.signals import LEADS
from tfds_builders.conversion import builder
from tfds_builders.formats import wfdb, wfdb_annotations, wfdb_header
from tfds_builders.ludb import waves
from tfds_builders.recording import splits
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, rates

URL = "https://physionet.org/content/ludb/1.0.1/"
RHYTHMS = {
    "sinus rhythm": "SR",
    "sinus bradycardia": "SBRAD",
    "sinus tachycardia": "STACH",
    "sinus arrhythmia": "SARRH",
    "irregular sinus rhythm": "SARRH",
    "atrial fibrillation": "AFIB",
    "atrial flutter": "AFLT",
}
"""Rhythms that are an SCP-ECG statement, as the header's comments write them."""


class Builder(builder.RecordingsBuilder):
    """Every recording with the wave of each sample."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "LUDB 1.0.1, one track of waves for all leads."}
    BUILDER_CONFIGS = rates(100, 500)
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/ludb"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        source = self.source_folder(URL)
        headers = [*source.glob("[0-9]*.hea"), *source.glob("data/[0-9]*.hea")]
        records = [
            path.relative_to(source).with_suffix("") for path in headers if path.stem.isdigit()
        ]
        if not records:
            raise InputError(f"{source}: no data/1.hea; give the folder of LUDB that holds `data`")
        find = functools.partial(wfdb.find_windows, source, config=self.builder_config)
        ordered = sorted(records, key=lambda record: int(record.name))
        return [
            window
            for record in ordered
            for window in find(str(record), functools.partial(self._recording, record))
        ]

    def _recording(self, record: Path, header: wfdb_header.Header | None) -> Recording:
        return Recording(
            record_id=f"{int(record.name):03d}",
            source_patient_id=record.name,
            split=splits.of_patient(record.name, self.secret()),
            location=None,
            **(_about(header.comments) if header else {}),
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        signal = wfdb.read_window(self.source, recording, self.builder_config)
        return {"signal": signal, "waves": self._waves(recording)}

    def _waves(self, recording: Recording) -> np.ndarray:
        """uint8 [config.samples]: of each sample of the window the nearest published one's."""
        assert self.source is not None
        name, window = recording.location
        record, config = self.source / name, self.builder_config
        header = wfdb_header.read(record.with_name(f"{record.name}.hea"))
        files = (record.with_name(f"{record.name}.{lead.lower()}") for lead in LEADS)
        annotations = [wfdb_annotations.read(file) for file in files]
        if late := [
            each[-1].sample for each in annotations if each and each[-1].sample >= header.samples
        ]:
            problem = f"{record}: an annotation at sample {late[0]} of {header.samples}"
            raise RecordingError("annotation", f"{problem}; fetch the record again")
        leads = [waves.of_lead(each, header.samples) for each in annotations]
        stored = window * config.samples + np.arange(config.samples)
        nearest = np.rint(stored * header.rate_hz / config.rate_hz).astype(int)
        return waves.of_most(np.stack(leads, axis=1))[np.minimum(nearest, header.samples - 1)]

    def extra_features(self) -> dict[str, tfds.features.FeatureConnector]:
        shape, encoding = (self.builder_config.samples,), tfds.features.Encoding.BYTES
        return {"waves": tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=encoding)}


def _about(comments: list[str]) -> dict[str, Any]:
    """What a header says of a recording; whatever is not of the form is null."""
    fields = {name.strip("<> "): value for name, value in wfdb_header.fields(comments).items()}
    age, sex, rhythm = (
        fields.get(name, "").rstrip(".").casefold() for name in ("age", "sex", "rhythm")
    )
    return {
        "age": float(age) if re.fullmatch(r"\d{1,3}", age) else None,
        "sex": {"f": "female", "m": "male"}.get(sex[:1]),
        "labels": (RHYTHMS[rhythm],) if rhythm in RHYTHMS else (),
    }
