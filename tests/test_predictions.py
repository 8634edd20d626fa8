"""Runs compared on the same recordings: Dice and AUROC, paired, and what cannot be compared."""

import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecgjax.evaluate import predictions
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.predictions import FILE, Predictions, compare
from ecgjax.launch import compare as command
from ecgjax.launch import run
from ecgjax.signals import UNMARKED, InputError

PATIENTS = np.arange(90) // 2
ABOUT = {"metric": "AUROC", "task": "af", "classes": ["af"], "data": "ptb_xl"}


def test_dice_of_all_recordings_at_once():
    truth = np.array([[1, 1, 0, 2, 3, UNMARKED], [0, 0, 0, 2, 2, 3]])
    found = np.array([[1, 0, 0, 2, 3, 1], [1, 0, 0, 2, 2, 0]])
    bootstrap = dice_bootstrap(truth, {"one": found}, np.array([0, 1]))
    assert [one.value for one in bootstrap.per_class("one")] == pytest.approx([2 / 4, 1.0, 2 / 3])
    assert bootstrap.macro("one").value == pytest.approx((0.5 + 1 + 2 / 3) / 3)
    with pytest.raises(InputError, match="give the same shapes"):
        dice_bootstrap(truth, {"one": found[:, :4]}, np.array([0, 1]))


def test_dice_is_scikit_learns_f1_and_its_difference_is_paired():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=(90, 50))
    # A difficulty that is the patient's: both methods share it, so that their difference is surer than each of them.
    lost = rng.random(45)[PATIENTS, None]
    worse, better = (np.where(rng.random((2, 90, 50)) < lost * share, 0, truth) for share in (0.6, 0.5))
    bootstrap = dice_bootstrap(truth, {"worse": worse, "better": better}, PATIENTS)
    for wave, one in enumerate(bootstrap.per_class("worse"), start=1):
        expected = np.mean([f1_score(truth.ravel() == wave, seed.ravel() == wave) for seed in worse])
        assert one.value == pytest.approx(expected)
        assert one.low < one.value < one.high
    gain, alone = bootstrap.macro("better", minus="worse"), bootstrap.macro("worse")
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.5 * (alone.high - alone.low)


def test_a_wave_that_is_nowhere_has_no_coefficient():
    truth = np.array([[0, 2, 3], [0, 2, 3]])
    bootstrap = dice_bootstrap(truth, {"one": truth}, np.array([0, 1]))
    p, qrs, _ = bootstrap.per_class("one")
    assert np.isnan([p.value, p.low, p.high]).all() and qrs.value == qrs.low == 1
    assert bootstrap.macro("one").value == 1


def _finished(workdir, *, noise, seed=0, about=ABOUT, truth=None):
    rng = np.random.default_rng(7)
    truth = (rng.random((90, 1)) < 0.4).astype(np.float32) if truth is None else truth
    scores = (truth + noise * np.random.default_rng(seed).normal(size=truth.shape)).astype(np.float32)
    workdir.mkdir()
    tested = Predictions(np.arange(90), PATIENTS, truth, scores)
    predictions.save(workdir, about, {"validation": tested, "test": tested})
    return workdir, roc_auc_score(truth, scores)


def test_command_compares_seeds_with_seeds(tmp_path, monkeypatch, capsys):
    ours = [_finished(tmp_path / f"a{seed}", noise=0.5, seed=seed) for seed in (1, 2)]
    theirs = [_finished(tmp_path / f"b{seed}", noise=2.0, seed=seed) for seed in (3, 4)]
    words = ["compare", *(str(path) for path, _ in ours), "--against", *(str(path) for path, _ in theirs)]
    monkeypatch.setattr(sys, "argv", words)
    command.main()
    printed = capsys.readouterr().out
    mean, against = (np.mean([auroc for _, auroc in runs]) for runs in (ours, theirs))
    assert "af, test of ptb_xl; means of 2 and of 2 runs" in printed
    assert f"{mean:.3f}     {against:.3f}   {mean - against:+.3f} (+" in printed


def test_other_tasks_recordings_and_folders_are_refused(tmp_path, monkeypatch, capsys):
    first, _ = _finished(tmp_path / "first", noise=1)
    other_task, _ = _finished(tmp_path / "task", noise=1, about=ABOUT | {"task": "mi"})
    other_truth, _ = _finished(tmp_path / "truth", noise=1, truth=np.eye(90, 1, dtype=np.float32))
    with pytest.raises(InputError, match="task: task is mi, in .*first it is af; compare runs of one task"):
        compare([first], [other_task], "test")
    with pytest.raises(InputError, match="truth: other validation recordings than in .*first"):
        compare([first], [other_truth], "validation")
    (first / FILE).write_bytes((first / FILE).read_bytes()[:300])
    with pytest.raises(InputError, match=r"predictions\.npz: damaged .* run ecgjax.launch.finetune in this workdir"):
        compare([first], [other_task], "test")
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path), "--against", str(first)])
    with pytest.raises(SystemExit) as end:
        run(command.main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and "give the workdir of a finished run" in error
