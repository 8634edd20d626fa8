"""Options of commands that read raw files, and the share of the files that one process takes."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing
from ecgjax.signals import LEADS


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options for raw files, those of `prepare`; a prepared data set takes none of them."""

    dataset: str | None = None
    """Builder of the files, as of prepare: ptb_xl, cinc2021/100hz_with_ptb_xl, vendor_folder, ...
    Default: by the names of the files."""
    seconds: float | None = None
    """Length of a recording, at least 1 s; longer ones have several windows, each with a row.
    Default: that of prepare, mostly 10 s."""
    pad_from: float | None = None
    """Accept recordings of at least PAD_FROM s, filled up with missing samples."""
    leads: tuple[str, ...] = ()
    """Leads to use, such as I II; the others are missing samples. Default: those of the model."""
    allow_missing_leads: bool = False
    """Accept recordings that lack some leads; suits models that were trained with lead masking."""
    lead_names: tuple[str, ...] = ()
    """Leads with names of your own: NAME=LEAD, such as "EKG A=I" "EKG B=II"."""
    patient_key: Path | None = None
    """Key of prepare --patient-key: own files then have the same ids and hashes of patients, from
    recordings.csv or the file. Default: own files are known by their names alone."""

    def changed(self) -> list[str]:
        """Returns the options that were given."""
        return [name for name, value in vars(self).items() if value not in (None, (), False)]

    def to_config(self) -> dict[str, Any]:
        """Returns the options as JSON takes them."""
        fields = dataclasses.asdict(self)
        return fields | {"patient_key": self.patient_key and str(self.patient_key)}

    def builder_options(self, needed: Sequence[str]) -> dict[str, Any]:
        """Returns the changes of a builder's config for a model that needs some leads."""
        leads = self.leads or (needed if set(needed) != set(LEADS) else ())
        return {
            "seconds": self.seconds,
            "pad_from": self.pad_from,
            "leads": leads or None,
            "allow_missing_leads": self.allow_missing_leads or None,
            "lead_names": self.lead_names or None,
        }


def unmasked_note(reading: Reading, preprocessing: Preprocessing, config: Mapping) -> str:
    """Returns a warning if leads may be absent for an encoder that saw all of them, or "".

    Args:
      reading: the options.
      preprocessing: preprocessing of the model, which names its leads.
      config: config of the run that trained it.
    """
    absent = reading.leads and set(preprocessing.leads) - set(reading.leads)
    if not (reading.allow_missing_leads or absent) or _has_lead_mask(config):
        return ""
    option = "--allow-missing-leads" if reading.allow_missing_leads else "--leads"
    problem = "the model was trained without lead masking (no lead_mask in its config)"
    return f"warning: {option}: {problem}; results without all leads may be far off"


def _has_lead_mask(config: Mapping) -> bool:
    if config.get("lead_mask"):
        return True
    return any(_has_lead_mask(value) for value in config.values() if isinstance(value, Mapping))


@dataclasses.dataclass(frozen=True)
class Share:
    """One of several equal parts of the recordings, for a job of several processes."""

    index: int = 0
    """Number of the share, from 0."""
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> "Share":
        """Parses K/N, counted from 0, or slurm; None is everything.

        Raises:
          InputError: it is neither, or this process is not in a SLURM job of several tasks.
        """
        if text is None:
            return cls()
        if text == "slurm":
            return cls._from_slurm()
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not match or int(match[1]) >= int(match[2]):
            problem = f"--shard {text}: give K/N with K from 0 to N - 1"
            raise InputError(f"{problem}, 0/8 to 7/8 for eight processes, or slurm")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def _from_slurm(cls) -> "Share":
        """Returns the share of a task of a SLURM array, of a step of several tasks, or of both."""
        variables = {
            name: int(os.environ.get(f"SLURM_{name}") or default)
            for name, default in (
                ("ARRAY_TASK_ID", 0),
                ("ARRAY_TASK_MIN", 0),
                ("ARRAY_TASK_STEP", 1),
                ("ARRAY_TASK_COUNT", 1),
                ("PROCID", 0),
                ("NTASKS", 1),
            )
        }
        if "SLURM_PROCID" not in os.environ and "SLURM_ARRAY_TASK_ID" not in os.environ:
            problem = "--shard slurm: SLURM_PROCID and SLURM_ARRAY_TASK_ID are not set"
            raise InputError(f"{problem}; start it with srun or as a job array, or give K/N")
        first = variables["ARRAY_TASK_ID"] - variables["ARRAY_TASK_MIN"]
        member = first // variables["ARRAY_TASK_STEP"]
        tasks = variables["NTASKS"]
        return cls(member * tasks + variables["PROCID"], variables["ARRAY_TASK_COUNT"] * tasks)

    def file(self, out: Path) -> Path:
        """Returns the file of this share: OUT, or OUT-00000-of-00008 with the ending of OUT."""
        if self.count == 1:
            return out
        return out.with_name(f"{out.stem}-{self.index:05d}-of-{self.count:05d}{out.suffix}")
