"""Tasks, compared with the published hierarchy of PTB-XL and the counts in its papers."""

import ast
import csv
import os
from pathlib import Path

import numpy as np
import pytest

from ecgjax.evaluate.tasks import CONDITIONS, MAIN_TASKS, STATEMENTS, TASKS


@pytest.mark.parametrize(
    ("task", "classes"),
    [
        ("superclass", 5),
        ("all", 71),
        ("diagnostic", 44),
        ("subclass", 23),
        ("form", 19),
        ("rhythm", 12),
    ],
)
def test_number_of_classes_is_that_of_ptb_xl(task, classes):
    assert len(set(TASKS[task].classes)) == classes
    assert len(TASKS[task].classes) == len(TASKS[task].codes) == classes


def test_hierarchy_is_consistent():
    assert len({statement.code for statement in STATEMENTS}) == 71
    assert all(
        ("d" in s.kinds) == (s.superclass is not None) == (s.subclass is not None)
        for s in STATEMENTS
    )
    superclass = TASKS["superclass"]
    subclass = TASKS["subclass"]
    diagnostic = TASKS["diagnostic"]
    assert frozenset.union(*superclass.codes) == set(diagnostic.classes)
    assert frozenset.union(*subclass.codes) == set(diagnostic.classes)
    assert sum(map(len, superclass.codes)) == sum(map(len, subclass.codes)) == 44
    # Four statements are both diagnostic and form: 44 + 19 + 12 = 71 + 4.
    assert set(diagnostic.classes) & set(TASKS["form"].classes) == {"NDT", "NST_", "DIG", "LNGQT"}
    assert superclass.classes == ("NORM", "MI", "STTC", "CD", "HYP")


def test_targets_and_recordings_outside_the_task():
    labels = [["NORM", "SR"], ["IMI", "INJAS", "LVH", "AFIB"], ["SR", "PVC"], [], ["1AVB", "NDT"]]
    targets, belongs = TASKS["superclass"].classify(labels)
    np.testing.assert_array_equal(
        targets,
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 0]],
    )
    assert targets.dtype == np.float32
    assert belongs.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("task", "positive"),
    [
        ("af", {"AFIB"}),
        ("flutter", {"AFLT"}),
        ("av_block_1", {"1AVB"}),
        ("premature", {"PVC", "PRC(S)"}),
        ("mi", {"IMI", "PMI", "INJIL", "INJLA"}),
    ],
)
def test_condition_is_predicted_against_all_other_recordings(task, positive):
    codes = "AFIB AFLT 1AVB 2AVB PVC PRC(S) IMI PMI INJIL INJLA NORM ISCAL".split()
    labels = [[code] for code in codes] + [[]]
    targets, belongs = TASKS[task].classify(labels)
    assert TASKS[task].is_single and belongs.all()
    assert {labels[i][0] for i in np.flatnonzero(targets[:, 0])} == positive


def test_targets_of_no_recordings_are_empty():
    targets, belongs = TASKS["superclass"].classify([])
    assert targets.shape == (0, 5) and belongs.shape == (0,)


def test_main_tasks_are_superclass_and_the_single_conditions():
    assert CONDITIONS == tuple(name for name, task in TASKS.items() if task.is_single)
    assert MAIN_TASKS == ("superclass", *CONDITIONS)


def test_conditions_together_are_those_of_the_single_tasks():
    labels = [["AFIB", "PVC"], ["AFLT"], ["1AVB", "INJAS"], ["NORM"], []]
    together, belongs = TASKS["conditions"].classify(labels)
    assert TASKS["conditions"].classes == CONDITIONS and belongs.all()
    for column, name in zip(together.T, CONDITIONS, strict=True):
        np.testing.assert_array_equal(column, TASKS[name].classify(labels)[0][:, 0])
    assert together.sum(axis=1).tolist() == [2, 1, 2, 0, 0]


def test_counts_of_real_ptb_xl():
    """Recordings by split as in the published protocols, and positives of release 1.0.3."""
    if "ECGJAX_PTB_XL" not in os.environ:
        pytest.skip("ECGJAX_PTB_XL does not name a folder with the real recordings")
    with Path(os.environ["ECGJAX_PTB_XL"], "ptbxl_database.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [list(ast.literal_eval(row["scp_codes"])) for row in rows]
    fold = np.array([int(row["strat_fold"]) for row in rows])
    splits = (fold <= 8, fold == 9, fold == 10)
    results = {name: task.classify(labels) for name, task in TASKS.items()}
    counts = {
        name: [int(belongs[split].sum()) for split in splits]
        for name, (_, belongs) in results.items()
    }
    assert counts["superclass"] == counts["diagnostic"] == counts["subclass"]
    assert counts["superclass"] == [17_084, 2_146, 2_158]
    assert counts["form"] == [7_197, 901, 880]
    assert counts["rhythm"] == [16_832, 2_100, 2_098]
    assert counts["all"] == counts["af"] == [17_418, 2_183, 2_198]
    positives = {name: targets.sum(axis=0).tolist() for name, (targets, _) in results.items()}
    assert positives["superclass"] == [9_514, 5_469, 5_235, 4_898, 2_649]
    assert positives["af"] == [1_514]
    assert positives["flutter"] == [73]
    assert positives["av_block_1"] == [793]
    assert positives["mi"] == [5_469]
