"""PTB Diagnostic ECG Database 1.0.0: 549 recordings of 290 people.

https://physionet.org/content/ptbdb/1.0.0/
"""

import datetime
import re
from typing import Any

from ecgjax.errors import InputError
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import wfdb_header
from tfds_builders.recording import splits
from tfds_builders.recording.recording import Recording, rates

REASONS_FOR_ADMISSION = {
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
"""Reasons for admission that become a label. All other comments of a header are free text and are
not kept."""


class Builder(WfdbBuilder):
    """Windows of 10 s; the recordings last half a minute to two minutes, at 1000 Hz."""

    RELEASE_NOTES = {"2.0.0": "PTB Diagnostic 1.0.0, the twelve standard leads."}
    BUILDER_CONFIGS = rates(100, 500, 1000)
    url = "https://physionet.org/content/ptbdb/1.0.0/"
    patient_key = b"ecgjax/ptb_diagnostic"

    def find_recordings(self) -> list[Recording]:
        records = sorted(
            path.relative_to(self.source).with_suffix("")
            for path in self.source.glob("patient*/*.hea")
        )
        if not records:
            problem = f"{self.source}: no patient*/*.hea"
            raise InputError(f"{problem}; give the folder that holds patient001 and so on")
        return self.find_windows(records, self._describe)

    def _describe(self, record: str, header: wfdb_header.Header | None) -> Recording:
        patient, name = record.split("/")
        return Recording(
            record_id=f"{patient}-{name}",
            source_patient_id=patient,
            split=splits.assign_split(patient, self.secret()),
            location=None,
            **(_metadata(wfdb_header.fields(header.comments)) if header else {}),
        )


def _metadata(fields: dict[str, str]) -> dict[str, Any]:
    """Parses the fields of a header; "n/a" and any other unexpected text becomes None."""
    age = fields.get("age", "")
    sex = fields.get("sex", "")
    reason = fields.get("reason for admission", "")
    reason = re.sub(r"\s*\(.*", "", reason).casefold()  # Heart failure (NYHA 2)
    return {
        "age": float(age) if re.fullmatch(r"\d{1,3}", age) else None,
        "sex": sex if sex in ("female", "male") else None,
        "recorded_at": _date(fields.get("ecg date", "")),
        "labels": ((f"ptb:{reason.replace(' ', '_')}",) if reason in REASONS_FOR_ADMISSION else ()),
    }


def _date(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(text, "%d/%m/%Y")
    except ValueError:
        return None
