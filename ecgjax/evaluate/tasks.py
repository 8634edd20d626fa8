"""Prediction tasks: the targets of whole recordings that models learn.

Every task obeys the protocol `Task`. A `NamedTask` assigns SCP-ECG statement codes to classes; the
tasks of a user's own columns are in `ecgjax.workflows.own_targets`.

The statements and their hierarchy are those of PTB-XL (scp_statements.csv, CC BY 4.0; Wagner et al.
2020, doi:10.1038/s41597-020-0495-6). A recording has a statement whatever its likelihood, as in the
published benchmarks. A new task is one line in `TASKS`, a condition for the default benchmark one
in `_CONDITIONS`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ecgjax.outputs import Outputs

# Kind (d diagnostic, f form, r rhythm) and code; for diagnostic statements superclass and subclass.
_TABLE = """
d  NORM    NORM NORM
d  IMI     MI   IMI
d  ASMI    MI   AMI
d  AMI     MI   AMI
d  ALMI    MI   AMI
d  ILMI    MI   IMI
d  LMI     MI   LMI
d  PMI     MI   PMI
d  IPMI    MI   IMI
d  IPLMI   MI   IMI
d  INJAS   MI   AMI
d  INJAL   MI   AMI
d  INJLA   MI   AMI
d  INJIN   MI   IMI
d  INJIL   MI   IMI
df NDT     STTC STTC
df NST_    STTC NST_
df DIG     STTC STTC
df LNGQT   STTC STTC
d  ANEUR   STTC STTC
d  EL      STTC STTC
d  ISC_    STTC ISC_
d  ISCAL   STTC ISCA
d  ISCAS   STTC ISCA
d  ISCLA   STTC ISCA
d  ISCAN   STTC ISCA
d  ISCIN   STTC ISCI
d  ISCIL   STTC ISCI
d  LAFB    CD   LAFB/LPFB
d  LPFB    CD   LAFB/LPFB
d  IRBBB   CD   IRBBB
d  CRBBB   CD   CRBBB
d  CLBBB   CD   CLBBB
d  ILBBB   CD   ILBBB
d  IVCD    CD   IVCD
d  WPW     CD   WPW
d  1AVB    CD   _AVB
d  2AVB    CD   _AVB
d  3AVB    CD   _AVB
d  LVH     HYP  LVH
d  RVH     HYP  RVH
d  SEHYP   HYP  SEHYP
d  LAO/LAE HYP  LAO/LAE
d  RAO/RAE HYP  RAO/RAE
f  ABQRS
f  PVC
f  STD_
f  VCLVH
f  QWAVE
f  LOWT
f  NT_
f  PAC
f  LPR
f  INVT
f  LVOLT
f  HVOLT
f  TAB_
f  STE_
f  PRC(S)
r  SR
r  AFIB
r  STACH
r  SARRH
r  SBRAD
r  PACE
r  SVARR
r  BIGU
r  AFLT
r  SVTAC
r  PSVT
r  TRIGU
"""


@dataclasses.dataclass(frozen=True)
class Statement:
    """An SCP-ECG statement and its place in the hierarchy of PTB-XL."""

    kinds: str
    """Letters of its kinds: d (diagnostic), f (form), r (rhythm); "df" is both."""
    code: str
    superclass: str | None = None
    subclass: str | None = None


STATEMENTS = tuple(Statement(*line.split()) for line in _TABLE.strip().splitlines())


class Recordings(Protocol):
    """The part of `ecgjax.data.records.Records` that targets are read from."""

    def labels(self, indices: np.ndarray) -> list[list[str]]:
        """Returns the labels of each recording."""
        ...

    def column(self, name: str) -> Any:
        """Returns a column of the data set's table, one value for each recording."""
        ...


class Task(Protocol):
    """Targets of whole recordings: labels, classes or numbers."""

    @property
    def name(self) -> str:
        """Name in commands, tables and files."""
        ...

    @property
    def description(self) -> str:
        """Description in a few words."""
        ...

    @property
    def outputs(self) -> Outputs:
        """Names and kind of the targets. `Outputs.fitted` adds the scale of numbers."""
        ...

    @property
    def is_single(self) -> bool:
        """True if it is one condition against all other recordings; draws are then balanced."""
        ...

    def targets(self, records: Recordings, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the targets of recordings, and the recordings that belong to the task.

        Args:
          records: any prepared data set, which need not be the one that a model is trained on.
          indices: numbers of recordings in it, [recording].

        Returns:
          targets: float32 [recording, output], one-hot for classes; NaN where there is no label.
          belongs: True for a recording with some target, bool [recording].

        Raises:
          InputError: the data set cannot have such targets.
        """
        ...


@dataclasses.dataclass(frozen=True)
class NamedTask:
    """Labels that a data set holds. A recording has a class if it has one of its codes."""

    name: str
    description: str
    classes: tuple[str, ...]
    codes: tuple[frozenset[str], ...]
    """The codes of each class."""
    drop_unlabelled: bool
    """Leave out recordings without any code of the task, as the published protocols do."""

    @property
    def outputs(self) -> Outputs:
        """Outputs of a head for this task."""
        return Outputs(self.name, "labels", self.classes)

    @property
    def is_single(self) -> bool:
        """Returns True for a task with one condition against all other recordings."""
        return len(self.classes) == 1

    def targets(self, records: Recordings, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns targets of 0 and 1, and the recordings that belong to the task; see `Task`."""
        return self.classify(records.labels(indices))

    def classify(self, labels: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same as `targets` for recordings with these labels, [recording][label]."""
        present = [
            [not codes.isdisjoint(recording_codes) for codes in self.codes]
            for recording_codes in labels
        ]
        targets = np.array(present, np.float32).reshape(-1, len(self.classes))
        if self.drop_unlabelled:
            return targets, np.any(targets, axis=1)
        return targets, np.ones(len(targets), bool)


LABEL = "label:"
"""Beginning of the name of a task that is one label as the data set holds it."""


def label_task(label: str) -> NamedTask:
    """Returns the task of one label, such as "snomed:426783006", against all other recordings."""
    return NamedTask(f"{LABEL}{label}", f"label {label}", (label,), (frozenset({label}),), False)


def _condition(name: str, description: str, codes: Sequence[str]) -> NamedTask:
    return NamedTask(name, description, (name,), (frozenset(codes),), drop_unlabelled=False)


def _grouped(name: str, description: str, group: Callable[[Statement], str | None]) -> NamedTask:
    """Returns a task whose classes are the values of `group`, in the order of the table."""
    groups: dict[str, set[str]] = {}
    for statement in STATEMENTS:
        if group_name := group(statement):
            groups.setdefault(group_name, set()).add(statement.code)
    codes = tuple(frozenset(codes) for codes in groups.values())
    return NamedTask(name, description, tuple(groups), codes, drop_unlabelled=True)


def _select_kind(kind: str) -> Callable[[Statement], str | None]:
    return lambda statement: statement.code if kind in statement.kinds else None


_MI = [statement.code for statement in STATEMENTS if statement.superclass == "MI"]
_PREMATURE = ["PAC", "PVC", "PRC(S)", "SVARR", "BIGU", "TRIGU"]
_CONDITIONS = (
    _condition("af", "atrial fibrillation", ["AFIB"]),
    _condition("flutter", "atrial flutter", ["AFLT"]),
    _condition(
        "premature",
        "premature beats, atrial or ventricular, including bigeminy and trigeminy",
        _PREMATURE,
    ),
    _condition("av_block_1", "first-degree atrioventricular block", ["1AVB"]),
    _condition("mi", "myocardial infarction, including subendocardial injury", _MI),
)
CONDITIONS = tuple(task.name for task in _CONDITIONS)
"""Names of the tasks with one condition, the targets of Liu et al. 2025."""
_TOGETHER = tuple(codes for task in _CONDITIONS for codes in task.codes)

TASKS = {
    task.name: task
    for task in (
        _grouped("superclass", "5 diagnostic superclasses", lambda statement: statement.superclass),
        *_CONDITIONS,
        NamedTask("conditions", "the 5 conditions by one model", CONDITIONS, _TOGETHER, False),
        _grouped("all", "71 SCP-ECG statements", lambda statement: statement.code),
        _grouped("diagnostic", "44 diagnostic statements", _select_kind("d")),
        _grouped("subclass", "23 diagnostic subclasses", lambda statement: statement.subclass),
        _grouped("form", "19 form statements", _select_kind("f")),
        _grouped("rhythm", "12 rhythm statements", _select_kind("r")),
    )
}
MAIN_TASKS = ("superclass", *CONDITIONS)
"""Names of the tasks that the low-label benchmark runs by default."""
