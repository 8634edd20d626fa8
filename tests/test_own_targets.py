"""Targets of a user's own columns: their kind, their values, and an account of every row."""

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ecgjax.errors import InputError
from ecgjax.evaluate.tasks import TASKS
from ecgjax.workflows.own_targets.choose import choose_target, choose_tasks
from ecgjax.workflows.own_targets.task import OwnTargets, OwnTask

NAN = float("nan")


@dataclasses.dataclass
class Table:
    """A data set without signals: records r0, r1, ... with ages, sexes and labels."""

    count: int = 12
    name: str = "arrays/100hz:2.0.0"
    path: Path = Path("prepared")

    def __len__(self):
        return self.count

    @property
    def table(self):
        rows = range(self.count)
        return pa.table(
            {
                "record_id": [f"r{k}" for k in rows],
                "patient_id": [f"{k // 2:032x}" for k in rows],
                "age": pa.array([None, *(20.5 + k for k in rows[1:])], pa.float32()),
                "sex": [None, *(("male", "female")[k % 2] for k in rows[1:])],
                "labels": [["SR", "snomed:1"], ["AFIB"], *[["SR"]] * (self.count - 2)],
            }
        )

    def column(self, name):
        return self.table[name]


def _task(folder, column, values, *, count=None, ids=None, **options):
    """Returns the task of one column for records r0, r1, ..."""
    path = folder / "labels.csv"
    ids = ids or [f"r{k}" for k in range(len(values))]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["record", column], *zip(ids, values, strict=True)])
    own = OwnTargets((column,), path, **options)
    return OwnTask(own, Table(count or len(values)))


def _targets(task, count):
    return task.targets(Table(count), np.arange(count))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "", "1.0", "NA"], [1, 0, NAN, 1, NAN]),
        (["Yes", "no", "?", " YES", "unknown"], [1, 0, NAN, 1, NAN]),
        (["Ja", "nein", "-", "J", "unbekannt"], [1, 0, NAN, 1, NAN]),
        (["sí", "não", "n/a", "vrai", "faux"], [1, 0, NAN, 1, 0]),
        (["positive", "NEGATIVE", "+", "absent", "None"], [1, 0, 1, 0, NAN]),
    ],
)
def test_yes_and_no_in_several_languages_are_one_label(tmp_path, values, expected):
    task = _task(tmp_path, "LVSD", values)
    assert task.is_single and task.outputs.names == ("LVSD",) and task.outputs.kind == "labels"
    targets, belongs = _targets(task, len(values))
    np.testing.assert_array_equal(targets[:, 0], expected)
    np.testing.assert_array_equal(belongs, ~np.isnan(expected))
    assert targets.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "kind", "names", "row"),
    [
        (["left", "right ", "", "Right", "left"], "classes", ("left", "right"), [0, 1]),
        (["10", "9", "9.0", "10", ""], "classes", ("9", "10"), [1, 0]),
        (["1", "-1", "0", "-1", ""], "classes", ("-1", "0", "1"), [1, 0, 0]),
        (["yes", "yes?", "no", "yes", ""], "classes", ("no", "yes", "yes?"), [0, 0, 1]),
        (["none", "mild", "mild", "none", "NA"], "classes", ("mild", "none"), [1, 0]),
        (["AF;PVC", "SR", "PVC|SR", "", "AF"], "labels", ("AF", "PVC", "SR"), [0, 0, 1]),
        (["AF", "none", "AF;SR"], "labels", ("AF", "SR"), [0, 0]),
        (["['AF', 'SR']", "[]", "{'SR': 100.0}", "", "['AF']"], "labels", ("AF", "SR"), [0, 0]),
        (["61,5", "70", "", "59,25", "1e2"], "numbers", ("x",), [70]),
    ],
)
def test_kind_of_a_column_is_that_of_its_cells(tmp_path, values, kind, names, row):
    task = _task(tmp_path, "x", values)
    assert (task.outputs.kind, task.outputs.names) == (kind, names) and not task.is_single
    targets, belongs = _targets(task, len(values))
    assert targets[1].tolist() == row
    assert belongs.tolist() == [value not in ("", "NA") for value in values]
    if kind == "classes":
        assert set(np.nansum(targets, axis=1)) <= {0, 1}


def test_kind_can_be_forced(tmp_path):
    grades = ["1", "2", "3", "2", "4"]
    assert _task(tmp_path, "nyha", grades).outputs.names == ("1", "2", "3", "4")
    task = _task(tmp_path, "nyha", grades, target_kind="numbers")
    assert task.outputs.kind == "numbers"
    np.testing.assert_array_equal(_targets(task, 5)[0][:, 0], [1, 2, 3, 2, 4])
    task = _task(tmp_path, "af", ["1", "0", "1"], target_kind="classes")
    assert task.outputs.names == ("0", "1") and task.outputs.kind == "classes"
    task = _task(tmp_path, "rhythm", ["AF", "SR", "AF"], target_kind="labels")
    assert task.outputs.names == ("AF", "SR") and task.outputs.kind == "labels"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([*map(str, range(12)), "<5"], {}, r"row 14 \('<5'\): no number; write it without unit"),
        (["120 mmHg", "130 mmHg"], {"target_kind": "numbers"}, r"row 2 .*, row 3 .*: no number"),
        (["1.234,5", "2"], {"target_kind": "numbers"}, r"row 2 \('1.234,5'\): no number"),
        (["1,234", "980", "1,050"], {}, r"row 2 \('1,234'\), row 4 .*: a decimal comma or thou"),
        (["", "NA", "unknown"], {}, "has no label in 3 rows"),
        ([f"text {k}" for k in range(12)], {}, "has 12 different texts in 12 rows, as free text"),
        ([f"{k} mmHg" for k in range(100, 112)], {}, r"number without unit .*'100 mmHg'"),
        ([f"{k}.01.2023" for k in range(10, 22)], {}, "give a column of classes"),
        (["yes", "yes", "NA"], {}, "column 'x' has one value in all 2 rows with a label"),
        (["x" * 65, "y"], {}, "longer than 64 characters"),
        (["AF;SR", "{'AF': 1"], {}, r"row 3 \(.*\): no list of labels"),
    ],
)
def test_cells_of_another_form_are_refused_by_row(tmp_path, values, options, message):
    with pytest.raises(InputError, match=message):
        _task(tmp_path, "x", values, **options)


def test_column_of_patients_is_no_target(tmp_path):
    with pytest.raises(InputError, match="column 'Patient' names recordings or patients"):
        _task(tmp_path, "Patient", ["0012", "0013"])


def test_every_row_and_every_recording_is_accounted_for(tmp_path, capsys):
    ids = ["r0", "r1", "r2", "gone", "r2", "r3", ""]
    task = _task(tmp_path, "af", ["1", "0", "1", "1", "1", "", "0"], ids=ids, count=6)
    printed = capsys.readouterr().err
    for line in ("rows +7", "with a recording +5", "without a recording +2 +such as row 5 .*gone"):
        assert _has(printed, line), line
    for line in ("without a label +1 ", "repeated +1 ", "recordings +6", "without a row +2"):
        assert _has(printed, line), line
    assert _has(printed, "with a label +3")
    targets, belongs = _targets(task, 6)
    np.testing.assert_array_equal(targets[:, 0], [1, 0, 1, NAN, NAN, NAN])
    assert belongs.tolist() == [True] * 3 + [False] * 3
    assert not capsys.readouterr().err  # once for each data set


def _has(text, pattern):
    return re.search(pattern, text) is not None


def test_rows_that_contradict_each_other_are_refused_by_number(tmp_path):
    ids = ["r0", "r1", "r0"]
    with pytest.raises(InputError, match="rows 2 and 4 give recording r0 different labels"):
        _task(tmp_path, "af", ["1", "0", "0"], ids=ids, count=3)
    patients = [f"{k:032x}" for k in (0, 1)]
    path = tmp_path / "p.csv"
    path.write_text(f"patient,af\n{patients[0]},1\n{patients[1]},0\n{patients[0]},0\n")
    with pytest.raises(InputError, match="one row for each patient, or a column of record ids"):
        OwnTask(OwnTargets(("af",), path), Table(4))
    path.write_text(f"patient,af\n{patients[0]},1\n{patients[1]},0\n")
    targets, _ = _targets(OwnTask(OwnTargets(("af",), path), Table(5)), 5)
    np.testing.assert_array_equal(targets[:, 0], [1, 1, 0, 0, NAN])


def test_several_columns_of_yes_and_no_are_labels_and_of_numbers_are_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,AF,MI,EF,NT,axis\nr0,1,,60,9,L\nr1,0,yes,40.5,8,R\nr2,0,no,33,7,L\n")

    def task(*columns):
        return OwnTask(OwnTargets(columns, path), Table(3))

    targets, belongs = _targets(task("AF", "MI"), 3)
    np.testing.assert_array_equal(targets, [[1, NAN], [0, 1], [0, 0]])
    assert belongs.all() and task("AF", "MI").outputs.names == ("AF", "MI")
    with pytest.raises(InputError, match=r"different kinds: AF \(labels\), EF \(numbers\)"):
        task("AF", "EF")
    with pytest.raises(InputError, match="classes in more than one column"):
        task("axis", "NT")
    with pytest.raises(InputError, match="has no column 'A F X'; it has id, AF, MI"):
        task("A F X")
    assert task("af").name == "af"


def test_class_that_another_hospital_has_alone_is_no_label_there(tmp_path):
    values = ["left", "right", "left", "right", "odd", "left"]
    task = _task(tmp_path, "axis", values, count=4)
    assert task.outputs.names == ("left", "right")
    targets, belongs = task.targets(
        dataclasses.replace(Table(6), path=Path("other")), np.arange(3, 6)
    )
    np.testing.assert_array_equal(targets, [[0, 1], [NAN, NAN], [1, 0]])
    assert belongs.tolist() == [True, False, True]


def test_columns_of_the_data_set_are_targets_without_a_file():
    age = choose_target(None, OwnTargets(("age",)), Table())
    assert age.outputs.kind == "numbers" and age.metric == "R2"
    np.testing.assert_array_equal(
        _targets(age.task, 12)[0][:, 0], [NAN, *(20.5 + k for k in range(1, 12))]
    )
    (sex,) = choose_tasks([], OwnTargets(("sex",)), Table())
    assert sex.outputs.names == ("female", "male") and not sex.targets(Table(), [0])[1].any()
    with pytest.raises(InputError, match="no column 'height'; it has record_id.*--targets FILE"):
        choose_tasks([], OwnTargets(("height",)), Table())


def test_stored_labels_are_tasks_and_wrong_names_are_explained():
    own = OwnTargets()
    assert choose_tasks(["af"], own, Table()) == [TASKS["af"]]
    (task,) = choose_tasks(["label:snomed:1"], own, Table())
    assert task.is_single and task.classify([["SR", "snomed:1"], []])[0].tolist() == [[1], [0]]
    for name, message in [
        ("label:AFFIB", "similar: AFIB; most frequent: SR .11., "),
        ("AFIB", "give --task label:AFIB for the stored label"),
        ("age", "give --target age for the column of the data set"),
        ("nonsense", "no task of this name; known: superclass, af"),
    ]:
        with pytest.raises(InputError, match=message):
            choose_tasks([name], own, Table())
    for task, target in (("af", ("age",)), (None, ())):
        with pytest.raises(InputError, match="give one of them"):
            choose_target(task, OwnTargets(target), Table())
    with pytest.raises(InputError, match="--targets .*: name the columns to predict as --target"):
        OwnTargets(targets=Path("t.csv"))
