"""The meaning of the columns of a table, by the names that people give them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ecgjax.errors import InputError
from tfds_builders.recording import demographics

SYNONYMS = {
    "file": "file files filename filepath path pathname record recordname recordpath recordfile "
    "recording recordings recordingname recordingfile recordingpath ecg ecgfile ecgfilename "
    "ecgpath ecgfilepath ecgrecord ecgname signalfile signalpath waveform waveformfile "
    "waveformpath wavefile datafile datapath relativepath relpath filenamehr heafile headerfile "
    "headerpath xmlfile xml dicomfile datei dateiname dateipfad pfad fichier archivo arquivo "
    "nomefile",
    "patient": "patient patients patientid patientsid patientidentifier patientnr patientno "
    "patientnum patientnumber patientcode patientkey patienthash patientindex patientuid "
    "patientpseudonym pseudonym pseudonymid pat patid patnr patno ptid pt pid subject subjects "
    "subjectid subjectnr subjectno subjectnumber subjectcode subj subjid mrn mrnr mrnid "
    "medicalrecordnumber medicalrecordno hospitalnumber nhsnumber empi uhid "
    "person personid personno personnr individual individualid participant participantid "
    "participantno eid idpatient idpat patientenid patientennummer patientennr "
    "identifiantpatient numeropatient codepatient numeropaciente "
    "paciente idpaciente pacienteid pazienteid idpaziente patientkod",
    "time": "time datetime dateandtime dateofrecording dateofecg dateofexam dateoftest timestamp "
    "recordedat recordedon recordeddate recordedtime recordingdatetime recordingtimestamp "
    "recordtime recorddate recorddatetime acquiredat acquisitiondatetime acquisitiontimestamp "
    "acqdatetime ecgdatetime ecgtimestamp examdatetime studydatetime testdatetime "
    "measuredat measurementdatetime starttime startdatetime aufnahmezeitpunkt zeitpunkt zeit "
    "date recordingdate recordingtime acquisitiondate acquisitiontime acqdate acqtime ecgdate "
    "ecgtime examdate examtime examinationdate examinationtime studydate studytime testdate "
    "testtime measurementdate measurementtime startdate datum uhrzeit aufnahmedatum aufnahmezeit "
    "aufzeichnungsdatum ekgdatum fecha "
    "dateexamen datedelexamen dateenregistrement fechaecg fechaexamen dataesame dataexame",
    "age": "age ages ageyears ageyear ageyrs ageyr agey ageinyears ageatecg ageatrecording "
    "ageatexam ageatacquisition ageatstudy ageattest ageatecgyears ecgage patientage patientsage "
    "subjectage alter alterjahre patientenalter edad idade eta",
    "sex": "sex gender sexgender gendersex patientsex patientssex patientgender subjectsex "
    "biologicalsex sexatbirth birthsex geschlecht sexo sexe genero genre sesso",
    "labels": "label labels diagnosis diagnoses diagnose diagnosen diagnosecode diagnosecodes "
    "diagnosiscode diagnosiscodes diagnosticcode dx dxs dxcode dxcodes codes ecgcodes "
    "scp scpcode scpcodes scpecg snomed snomedct snomedcode snomedcodes statement statements "
    "ecglabel ecglabels ecgdiagnosis labelcode class classes target targets diagnostico",
    "split": "split splits set subset datasplit partition",
}
"""Names of columns by their meaning, in lower case, letters and digits only."""
MEANINGS = {name: meaning for meaning, names in SYNONYMS.items() for name in names.split()}
RECORD_IDS = "id recordid recordingid ecgid ecgno ecgnr ecguid examid studyid testid".split()
"""Names of columns that hold the file in a table without a column of another name for it."""
CLOCKS = ("time", "zeit")
DAYS = ("date", "datum", "fecha")
"""Ends of names of columns with the day and with the time of day, which may be apart."""
YEARS = re.compile(r"[(\[](?:in\s+)?(?:years?|yrs?|y|a|jahren?|hh:mm(?::ss)?|m/?f|f/?m)[)\]]")
"""Additions to a name that do not change the meaning of its column."""


class Columns(NamedTuple):
    """The columns of a table, as positions."""

    used: dict[str, tuple[int, ...]]
    """Positions by meaning: one, or two for a time whose day and clock are apart, in this order."""
    unused: list[int]


def plain(name: str) -> str:
    """Returns a name without case, accents, blanks, underscores and hyphens."""
    return demographics.plain(YEARS.sub("", name.casefold()))


def is_known(name: str) -> bool:
    """Tells whether the name of a column is one that is read."""
    return plain(name) in MEANINGS or plain(name) in RECORD_IDS


def find(header: Sequence[str], path: Path) -> Columns:
    """Returns the columns of a table by their meaning.

    Args:
      header: names of the columns.
      path: the file, for the error message.

    Raises:
      InputError: no column holds the file, or two have the same meaning.
    """
    names = [plain(name) for name in header]
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if name in MEANINGS:
            found.setdefault(MEANINGS[name], []).append(position)
    if "file" not in found:
        found["file"] = [index for index, name in enumerate(names) if name in RECORD_IDS]
    if not found["file"]:
        problem = f"{path}: row 1 names no column of files"
        raise InputError(f"{problem}; let its first row hold the names file, patient, age, ...")
    used = {meaning: _require_one(meaning, found[meaning], header, path) for meaning in found}
    taken = {position for positions in used.values() for position in positions}
    return Columns(used, [position for position in range(len(header)) if position not in taken])


def _require_one(
    meaning: str, positions: list[int], header: Sequence[str], path: Path
) -> tuple[int, ...]:
    if len(positions) == 1:
        return tuple(positions)
    names = [plain(header[position]) for position in positions]
    if meaning == "time" and len(names) == 2:
        for day, clock in (positions, positions[::-1]):
            is_day = plain(header[day]).endswith(DAYS)
            clock_name = plain(header[clock])
            if is_day and clock_name.endswith(CLOCKS) and not any(map(clock_name.count, DAYS)):
                return (day, clock)
    same = " and ".join(repr(header[position][:40]) for position in positions)
    problem = f"{path}: the columns {same} both mean {meaning}"
    raise InputError(f"{problem}; give those that do not another name, such as other")
