"""Runs compared on the same recordings: Dice and AUROC, paired, and what cannot be compared."""

import dataclasses
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecgjax.adapt.consistency import Consistency
from ecgjax.adapt.finetune import FineTuning
from ecgjax.errors import InputError
from ecgjax.evaluate import predictions
from ecgjax.evaluate.dice import dice_bootstrap
from ecgjax.evaluate.predictions import FILE, About, Predictions, compare, described
from ecgjax.launch import compare as command
from ecgjax.launch.command import run
from ecgjax.signals import UNMARKED

PATIENTS = np.arange(90) // 2


def _by(settings, labelled=10):
    return described(settings, encoder="compact_resnet", start="random weights", labelled=labelled)


ABOUT = About("af", ("af",), "AUROC", "ptb_xl", None, _by(FineTuning()))


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
    worse, better = (
        np.where(rng.random((2, 90, 50)) < lost * share, 0, truth) for share in (0.6, 0.5)
    )
    bootstrap = dice_bootstrap(truth, {"worse": worse, "better": better}, PATIENTS)
    for wave, one in enumerate(bootstrap.per_class("worse"), start=1):
        expected = np.mean(
            [f1_score(truth.ravel() == wave, seed.ravel() == wave) for seed in worse]
        )
        assert one.value == pytest.approx(expected)
        assert one.low < one.value < one.high
    gain, alone = bootstrap.macro("better", minus="worse"), bootstrap.macro("worse")
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.5 * (alone.high - alone.low)


def test_a_wave_that_truth_lacks_has_no_coefficient_whoever_claims_it():
    truth = np.array([[0, 2, 3], [0, 2, 3]])
    claims = np.array([[1, 2, 3], [0, 2, 3]])
    bootstrap = dice_bootstrap(truth, {"right": truth, "claims": claims}, np.array([0, 1]))
    for method in ("right", "claims"):
        p, qrs, _ = bootstrap.per_class(method)
        assert np.isnan([p.value, p.low, p.high]).all() and qrs.value == qrs.low == 1
        assert bootstrap.macro(method).value == 1
    with pytest.raises(InputError, match="none is of a wave"):
        dice_bootstrap(np.zeros((2, 3), np.uint8), {"one": truth}, np.array([0, 1]))


def _finished(workdir, *, noise, seed=0, about=ABOUT, patients=PATIENTS):
    """A finished run's folder, and its AUROC on validation and on test."""
    rng = np.random.default_rng(7)
    tested, found = {}, np.random.default_rng(seed)
    for split in predictions.TESTED:
        truth = (rng.random((90, 1)) < 0.4).astype(np.float32)
        scores = (truth + noise * found.normal(size=truth.shape)).astype(np.float32)
        tested[split] = Predictions(np.arange(90), patients, truth, scores)
    workdir.mkdir()
    predictions.save(workdir, about, tested)
    return workdir, {split: roc_auc_score(one.truth, one.found) for split, one in tested.items()}


@pytest.fixture
def say(monkeypatch, capsys):
    def say(*words):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, words)])
        command.main()
        return capsys.readouterr().out

    return say


def test_command_compares_seeds_with_seeds(tmp_path, say):
    pseudo = dataclasses.replace(ABOUT, by=_by(Consistency(batch_size=32)))
    ours = [_finished(tmp_path / f"a{seed}", noise=0.5, seed=seed, about=pseudo) for seed in (1, 2)]
    theirs = [_finished(tmp_path / f"b{seed}", noise=2.0, seed=seed) for seed in (3, 4)]
    words = [*(path for path, _ in ours), "--against", *(path for path, _ in theirs)]
    for split, options in (("validation", []), ("test", ["--split", "test"])):
        printed = say(*words, *options)
        mean, against = (np.mean([auroc[split] for _, auroc in runs]) for runs in (ours, theirs))
        assert f"af, {split} of ptb_xl" in printed
        assert f"{mean:.3f}     {against:.3f}   {mean - against:+.3f} (+" in printed
    assert "runs     method Consistency, labelled 10, batch_size 32; mean of 2" in printed
    assert "against  method FineTuning, labelled 10, batch_size 64; mean of 2" in printed


def test_unlike_runs_are_refused(tmp_path):
    first, _ = _finished(tmp_path / "first", noise=1)
    changes = {
        "task": dataclasses.replace(ABOUT, task="mi"),
        "labelled": dataclasses.replace(ABOUT, by=_by(FineTuning(), labelled=20)),
        "optimizer.warmup": dataclasses.replace(
            ABOUT,
            by=_by(FineTuning(optimizer=dataclasses.replace(FineTuning().optimizer, warmup=0.5))),
        ),
    }
    for name, about in changes.items():
        other, _ = _finished(tmp_path / name, noise=1, about=about)
        with pytest.raises(
            InputError, match=f"{name}: {name} is .*, in .*first it is .*; compare like with like"
        ):
            compare([first, other], [first], "test")
    assert (
        compare([first], [tmp_path / "labelled"], "test")[1].by["labelled"] == 20
    )  # two sides may differ in it
    other, _ = _finished(tmp_path / "other", noise=1, patients=PATIENTS[::-1])
    with pytest.raises(
        InputError, match="patients of validation differ from those in .*first; use one data"
    ):
        compare([first], [other], "validation")
    with pytest.raises(InputError, match="first: on both sides; give the workdirs of two ways"):
        compare([first], [first], "test")
    for runs, against in (([], [first]), ([first], []), ([first, first], [first])):
        with pytest.raises(InputError, match="give one workdir or more, each once"):
            compare(runs, against, "test")


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damaged_predictions_are_named(tmp_path, damage):
    first, _ = _finished(tmp_path / "first", noise=1)
    whole = (first / FILE).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    (first / FILE).write_bytes({"cut": whole[:300], "empty": b"", "flipped": flipped}[damage])
    with pytest.raises(
        InputError, match=r"predictions\.npz: damaged.* run ecgjax.launch.finetune in this workdir"
    ):
        compare([first], [first], "test")


def test_a_folder_without_predictions_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path), "--against", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        run(command.main)
    error = capsys.readouterr().err
    assert (
        end.value.code == 2
        and error.count("\n") == 1
        and "give the workdir of a finished run" in error
    )
