"""The training sets of the PhysioNet/CinC Challenges 2020 and 2021, https://physionet.org/content/challenge-2021/1.0.3/."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds

from ecgjax.errors import InputError
from tfds_builders.cinc2021 import snomed
from tfds_builders.conversion import builder
from tfds_builders.formats import wfdb, wfdb_header
from tfds_builders.recording import splits
from tfds_builders.recording.recording import Recording, RecordingsConfig

URL = "https://physionet.org/content/challenge-2021/1.0.3/"
NAMES = re.compile(r"(A|Q|I|S|HR|E|JS)(\d{4,5})", re.ASCII)
LAST_OF_CHAPMAN = 10646
SOURCES = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "I": "st_petersburg_incart",
    "S": "ptb",
    "HR": "ptb_xl",
    "E": "georgia",
}
"""The challenge's folder of records whose names begin so; JS are two, told apart by number."""
SEVERAL_OF_A_PATIENT = {"I", "S", "HR"}
"""Sources with several recordings of a patient. The challenge does not say of whom, so all of them are for training."""


@dataclasses.dataclass(eq=False, kw_only=True)
class CincConfig(RecordingsConfig):
    """The challenge's recordings at one rate."""

    ptb_xl: bool = False
    """Keep the records of PTB-XL (HR*), on which models are judged here."""


class Builder(builder.RecordingsBuilder):
    """Windows of 10 s."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The public training set of 2021, which contains that of 2020."}
    BUILDER_CONFIGS = [
        CincConfig(
            name=f"{rate}hz{'_with_ptb_xl' * ptb_xl}",
            rate_hz=rate,
            samples=10 * rate,
            ptb_xl=ptb_xl,
            description=f"10 s at {rate} Hz, {'with' if ptb_xl else 'without'} the records of PTB-XL.",
        )
        for ptb_xl in (False, True)
        for rate in (100, 500)
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "100hz"
    patient_key = b"ecgjax/cinc2021"

    def find_recordings(self, dl_manager: tfds.download.DownloadManager) -> list[Recording]:
        source = self.source_folder(URL)
        with_ptb_xl = cast(CincConfig, self.builder_config).ptb_xl
        records = sorted(path.relative_to(source).with_suffix("") for path in source.rglob("*.hea"))
        records = [record for record in records if NAMES.fullmatch(record.name)]
        if not records:
            raise InputError(
                f"{source}: no A0001.hea, JS00001.hea or the like; give the challenge's folder `training`"
            )
        records = [record for record in records if with_ptb_xl or not record.name.startswith("HR")]
        find = functools.partial(wfdb.find_windows, source, config=self.builder_config)
        return [
            window
            for record in records
            for window in find(str(record), functools.partial(self._recording, record))
        ]

    def _recording(self, record: Path, header: wfdb_header.Header | None) -> Recording:
        letters, number = NAMES.fullmatch(record.name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        chapman = "chapman_shaoxing" if int(number) <= LAST_OF_CHAPMAN else "ningbo"
        split = splits.of_patient(record.name, self.secret())
        return Recording(
            record_id=record.name,
            source_patient_id=record.name,
            split="train" if letters in SEVERAL_OF_A_PATIENT else split,
            location=None,
            site=SOURCES.get(letters, chapman),
            **(_about(wfdb_header.fields(header.comments)) if header else {}),
        )

    def read_recording(self, recording: Recording) -> dict[str, np.ndarray]:
        assert self.source is not None  # find_recordings has seen it
        return {"signal": wfdb.read_window(self.source, recording, self.builder_config)}


def _about(fields: dict[str, str]) -> dict[str, Any]:
    """What a header says of a person; NaN, Unknown and whatever else is not of the form is null."""
    age, sex = fields.get("age", ""), fields.get("sex", "").casefold()
    return {
        "age": float(age)
        if re.fullmatch(r"\d{1,3}(\.\d+)?", age, re.ASCII) and float(age) <= 120
        else None,
        "sex": {"m": "male", "f": "female"}.get(sex, sex if sex in ("female", "male") else None),
        "labels": snomed.labels(fields.get("dx", "")),
    }
