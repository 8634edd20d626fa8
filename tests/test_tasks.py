"""Tasks against the hierarchy that PTB-XL publishes and the counts in its papers."""

import ast
import csv
import os
from pathlib import Path

import numpy as np
import pytest

from ecgjax.evaluate.tasks import STATEMENTS, TASKS


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
    assert (
        len(TASKS[task].classes)
        == len(TASKS[task].codes)
        == len(set(TASKS[task].classes))
        == classes
    )


def test_hierarchy_is_consistent():
    assert len({statement.code for statement in STATEMENTS}) == 71
    assert all(
        ("d" in s.kinds) == (s.superclass is not None) == (s.subclass is not None)
        for s in STATEMENTS
    )
    superclass, subclass, diagnostic = (
        TASKS[name] for name in ("superclass", "subclass", "diagnostic")
    )
    assert (
        frozenset.union(*superclass.codes)
        == frozenset.union(*subclass.codes)
        == set(diagnostic.classes)
    )
    assert sum(map(len, superclass.codes)) == sum(map(len, subclass.codes)) == 44
    # Four statements are diagnostic and form at once: 44 + 19 + 12 = 71 + 4.
    assert set(diagnostic.classes) & set(TASKS["form"].classes) == {"NDT", "NST_", "DIG", "LNGQT"}
    assert superclass.classes == ("NORM", "MI", "STTC", "CD", "HYP")


def test_targets_and_dropped_recordings():
    labels = [["NORM", "SR"], ["IMI", "INJAS", "LVH", "AFIB"], ["SR", "PVC"], [], ["1AVB", "NDT"]]
    targets, keep = TASKS["superclass"].targets(labels)
    np.testing.assert_array_equal(
        targets,
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 0]],
    )
    assert targets.dtype == np.float32
    assert keep.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("task", "positive"),
    [
        ("af", {"AFIB"}),
        ("flutter", {"AFLT"}),
        ("av_block_1", {"1AVB"}),
        ("premature", {"PVC", "PRC(S)"}),
    ]
    + [("mi", {"IMI", "PMI", "INJIL", "INJLA"})],
)
def test_one_condition_against_all_others(task, positive):
    codes = "AFIB AFLT 1AVB 2AVB PVC PRC(S) IMI PMI INJIL INJLA NORM ISCAL".split()
    labels = [[code] for code in codes] + [[]]
    targets, keep = TASKS[task].targets(labels)
    assert TASKS[task].is_single and keep.all()
    assert {labels[i][0] for i in np.flatnonzero(targets[:, 0])} == positive


def test_no_recordings():
    targets, keep = TASKS["superclass"].targets([])
    assert targets.shape == (0, 5) and keep.shape == (0,)


def test_counts_of_real_ptb_xl():
    """Recordings by split as in the published protocols, and positives of release 1.0.3."""
    if "ECGJAX_PTB_XL" not in os.environ:
        pytest.skip("ECGJAX_PTB_XL does not name a folder with the real recordings")
    with Path(os.environ["ECGJAX_PTB_XL"], "ptbxl_database.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [list(ast.literal_eval(row["scp_codes"])) for row in rows]
    fold = np.array([int(row["strat_fold"]) for row in rows])
    splits = (fold <= 8, fold == 9, fold == 10)
    found = {name: task.targets(labels) for name, task in TASKS.items()}
    kept = {name: [int(keep[split].sum()) for split in splits] for name, (_, keep) in found.items()}
    assert kept["superclass"] == kept["diagnostic"] == kept["subclass"] == [17_084, 2_146, 2_158]
    assert kept["form"] == [7_197, 901, 880] and kept["rhythm"] == [16_832, 2_100, 2_098]
    assert kept["all"] == kept["af"] == [17_418, 2_183, 2_198]
    positives = {name: targets.sum(axis=0).tolist() for name, (targets, _) in found.items()}
    assert positives["superclass"] == [9_514, 5_469, 5_235, 4_898, 2_649]
    assert [positives[name][0] for name in ("af", "flutter", "av_block_1", "mi")] == [
        1_514,
        73,
        793,
        5_469,
    ]
