"""PTB Diagnostic ECG Database 1.0.0: 549 recordings of 290 people, https://physionet.org/content/ptbdb/1.0.0/."""

import datetime
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.conversion import builder
from tfds_builders.formats import wfdb, wfdb_header
from tfds_builders.recording import splits
from tfds_builders.recording.recording import Recording, rates

URL = "https://physionet.org/content/ptbdb/1.0.0/"
REASONS = {
    "bundle branch block",
    "cardiomyopathy",
    "dysrhythmia",
    "healthy control",
    "heart failure",
    "hypertrophy",
    "myocardial infarction",
    "myocarditis",
    "palpitation",
    "stable angina",
    "unstable angina",
    "valvular heart disease",
}
"""Reasons for admission that become a label. The other comments of a header are free text, of which nothing is kept."""


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s of recordings of half a minute to two minutes at 1000 Hz."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "PTB Diagnostic 1.0.0, the twelve standard leads."}
    BUILDER_CONFIGS = rates(100, 500, 1000)
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/ptb_diagnostic"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        source = self.source_folder(URL)
        records = sorted(
            path.relative_to(source).with_suffix("") for path in source.glob("patient*/*.hea")
        )
        if not records:
            raise InputError(
                f"{source}: no patient*/*.hea; give the folder that holds patient001 and so on"
            )
        find = functools.partial(wfdb.find_windows, source, config=self.builder_config)
        return [
            window
            for record in records
            for window in find(str(record), functools.partial(self._recording, record))
        ]

    def _recording(self, record: Path, header: wfdb_header.Header | None) -> Recording:
        patient = record.parent.name
        return Recording(
            record_id=f"{patient}-{record.name}",
            source_patient_id=patient,
            split=splits.of_patient(patient, self.secret()),
            location=None,
            **(_about(wfdb_header.fields(header.comments)) if header else {}),
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        return {"signal": wfdb.read_window(self.source, recording, self.builder_config)}


def _about(fields: dict[str, str]) -> dict[str, Any]:
    """What a header says of a recording; "n/a" and whatever else is not of the form is null."""
    age, sex, date, reason = (
        fields.get(name, "") for name in ("age", "sex", "ecg date", "reason for admission")
    )
    reason = re.sub(r"\s*\(.*", "", reason).casefold()  # Heart failure (NYHA 2)
    return {
        "age": float(age) if re.fullmatch(r"\d{1,3}", age) else None,
        "sex": sex if sex in ("female", "male") else None,
        "recorded_at": _date(date),
        "labels": (f"ptb:{reason.replace(' ', '_')}",) if reason in REASONS else (),
    }


def _date(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(text, "%d/%m/%Y")
    except ValueError:
        return None
