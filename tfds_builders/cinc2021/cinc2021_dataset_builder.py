"""The training sets of the PhysioNet/CinC Challenges 2020 and 2021.

https://physionet.org/content/challenge-2021/1.0.3/
"""

import dataclasses
import re
from pathlib import PurePosixPath
from typing import Any, cast

from ecgjax.errors import InputError
from tfds_builders.cinc2021 import snomed
from tfds_builders.conversion.wfdb_builder import WfdbBuilder
from tfds_builders.formats import wfdb, wfdb_header
from tfds_builders.recording import splits
from tfds_builders.recording.recording import Recording, RecordingsConfig

NAMES = re.compile(r"(A|Q|I|S|HR|E|JS)\d{4,5}", re.ASCII)
LAST_OF_CHAPMAN = 10646
"""Largest number of a JS record of Chapman-Shaoxing; larger numbers are of Ningbo."""
SITES = {
    "A": "cpsc_2018",
    "Q": "cpsc_2018_extra",
    "I": "st_petersburg_incart",
    "S": "ptb",
    "HR": "ptb_xl",
    "E": "georgia",
}
"""The challenge's folder of a record, by the letters of its name. JS stands for two folders."""
SITES_WITH_REPEATED_PATIENTS = {"I", "S", "HR"}
"""Letters of the sources that hold several recordings of a patient. The challenge does not publish
which ones, so all recordings of these sources are for training."""


def in_microvolts(signal: wfdb_header.Signal) -> wfdb_header.Signal:
    """Returns a signal line of Georgia or PTB-XL with 1 uV per LSB.

    The first headers of the challenge gave 4880 per mV for Georgia and 200 for PTB-XL, the headers
    of 2021 give 1000. Georgia's samples are rounded multiples of 2.44, a step of its devices in uV,
    and PTB-XL's are equal to PTB-XL's own, which are in uV.
    """
    return signal._replace(uv_per_lsb=1.0)


def without_second_factor(signal: wfdb_header.Signal) -> wfdb_header.Signal:
    """Returns a signal line of PTB or INCART with a gain that is 1000 times too large corrected.

    The first headers of the challenge gave 2,000,000 and up to millions per mV for these sources,
    whose own headers give 2000 (PTB) and hundreds (INCART) for the same samples.
    """
    if signal.uv_per_lsb < SMALLEST_STEP_UV:
        return signal._replace(uv_per_lsb=1000 * signal.uv_per_lsb)
    return signal


SMALLEST_STEP_UV = 0.01
"""No source of the challenge has a finer resolution than PTB's 0.5 uV."""
CORRECTIONS: dict[str, wfdb.Correction] = {
    "E": in_microvolts,
    "HR": in_microvolts,
    "S": without_second_factor,
    "I": without_second_factor,
}
"""Correction of signal lines by the letters of a record's name."""


@dataclasses.dataclass(eq=False, kw_only=True)
class CincConfig(RecordingsConfig):
    """The challenge's recordings at one sampling rate."""

    ptb_xl: bool = False
    """Keep the records of PTB-XL (HR*), on which models are evaluated in this project."""


class Builder(WfdbBuilder):
    """Windows of 10 s of the recordings of eight sources."""

    RELEASE_NOTES = {"2.0.0": "The public training set of 2021, which contains that of 2020."}
    BUILDER_CONFIGS = [
        CincConfig(
            name=f"{rate}hz{'_with_ptb_xl' * ptb_xl}",
            rate_hz=rate,
            samples=10 * rate,
            ptb_xl=ptb_xl,
            description=f"10 s at {rate} Hz, with{'' if ptb_xl else 'out'} the records of PTB-XL.",
        )
        for ptb_xl in (False, True)
        for rate in (100, 500)
    ]
    url = "https://physionet.org/content/challenge-2021/1.0.3/"
    patient_key = b"ecgjax/cinc2021"

    def find_recordings(self) -> list[Recording]:
        headers = [path for path in self.source.rglob("*.hea") if NAMES.fullmatch(path.stem)]
        if not headers:
            problem = f"{self.source}: no A0001.hea, JS00001.hea or the like"
            raise InputError(f"{problem}; give the challenge's folder `training`")
        if not cast(CincConfig, self.builder_config).ptb_xl:
            headers = [path for path in headers if not path.name.startswith("HR")]
        records = sorted(path.relative_to(self.source).with_suffix("") for path in headers)
        return self.find_windows(records, self._describe)

    def _describe(self, record: str, header: wfdb_header.Header | None) -> Recording:
        name = PurePosixPath(record).name
        letters = _letters(name)
        number = int(name.removeprefix(letters))
        chapman_or_ningbo = "chapman_shaoxing" if number <= LAST_OF_CHAPMAN else "ningbo"
        split = splits.assign_split(name, self.secret())
        return Recording(
            record_id=name,
            source_patient_id=name,
            split="train" if letters in SITES_WITH_REPEATED_PATIENTS else split,
            location=None,
            site=SITES.get(letters, chapman_or_ningbo),
            **(_metadata(wfdb_header.fields(header.comments)) if header else {}),
        )

    def correction(self, record: str) -> wfdb.Correction | None:
        return CORRECTIONS.get(_letters(PurePosixPath(record).name))


def _letters(name: str) -> str:
    return name.rstrip("0123456789")


def _metadata(fields: dict[str, str]) -> dict[str, Any]:
    """Parses the fields of a header; NaN, Unknown and any other unexpected text becomes None."""
    age = fields.get("age", "")
    valid_age = re.fullmatch(r"\d{1,3}(\.\d+)?", age, re.ASCII) and float(age) <= 120
    sex = fields.get("sex", "").casefold()
    return {
        "age": float(age) if valid_age else None,
        "sex": {"m": "male", "f": "female", "male": "male", "female": "female"}.get(sex),
        "labels": snomed.labels(fields.get("dx", "")),
    }
