"""Tasks against the hierarchy that PTB-XL publishes and the counts in its papers."""

import numpy as np
import pytest

from ecgjax.evaluate.tasks import STATEMENTS, TASKS


@pytest.mark.parametrize(
    ("task", "classes"),
    [("superclass", 5), ("all", 71), ("diagnostic", 44), ("subclass", 23), ("form", 19), ("rhythm", 12)],
)
def test_number_of_classes_is_that_of_ptb_xl(task, classes):
    assert len(TASKS[task].classes) == len(TASKS[task].codes) == len(set(TASKS[task].classes)) == classes


def test_hierarchy_is_consistent():
    assert len({statement.code for statement in STATEMENTS}) == 71
    assert all(("d" in s.kinds) == (s.superclass is not None) == (s.subclass is not None) for s in STATEMENTS)
    superclass, subclass, diagnostic = (TASKS[name] for name in ("superclass", "subclass", "diagnostic"))
    assert frozenset.union(*superclass.codes) == frozenset.union(*subclass.codes) == set(diagnostic.classes)
    assert sum(map(len, superclass.codes)) == sum(map(len, subclass.codes)) == 44
    # Four statements are diagnostic and form at once: 44 + 19 + 12 = 71 + 4.
    assert set(diagnostic.classes) & set(TASKS["form"].classes) == {"NDT", "NST_", "DIG", "LNGQT"}
    assert superclass.classes == ("NORM", "MI", "STTC", "CD", "HYP")


def test_targets_and_dropped_recordings():
    labels = [["NORM", "SR"], ["IMI", "INJAS", "LVH", "AFIB"], ["SR", "PVC"], [], ["1AVB", "NDT"]]
    targets, keep = TASKS["superclass"].targets(labels)
    np.testing.assert_array_equal(
        targets, [[1, 0, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 1, 1, 0]]
    )
    assert targets.dtype == np.float32
    assert keep.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("task", "positive"),
    [("af", {"AFIB"}), ("flutter", {"AFLT"}), ("av_block_1", {"1AVB"}), ("premature", {"PVC", "PRC(S)"})]
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
