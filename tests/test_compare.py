"""Paired comparison of runs: the printed table, and runs that cannot be compared."""

import dataclasses
import re
import sys

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from ecgjax.adapt.consistency import Consistency
from ecgjax.adapt.finetune import FineTuning
from ecgjax.errors import InputError
from ecgjax.evaluate.predictions import (
    TESTED_SPLITS,
    Predictions,
    RunDescription,
    describe_run,
    save,
)
from ecgjax.launch import compare as command
from ecgjax.launch.command import run
from ecgjax.workflows.compare import compare

PATIENTS = np.arange(90) // 2


def _settings(method, labelled=10):
    return describe_run(method, encoder="compact_resnet", start="random weights", labelled=labelled)


DESCRIPTION = RunDescription("af", ("af",), "AUROC", "ptb_xl", None, _settings(FineTuning()))


def _finished_run(workdir, *, noise, seed=0, description=DESCRIPTION, patients=PATIENTS):
    """Saves predictions as a finished run does; returns the workdir and the AUROC of each split."""
    labels_rng = np.random.default_rng(7)
    noise_rng = np.random.default_rng(seed)
    splits = {}
    for split in TESTED_SPLITS:
        truth = (labels_rng.random((90, 1)) < 0.4).astype(np.float32)
        scores = (truth + noise * noise_rng.normal(size=truth.shape)).astype(np.float32)
        splits[split] = Predictions(np.arange(90), patients, truth, scores)
    workdir.mkdir()
    save(workdir, description, splits)
    auroc = {name: roc_auc_score(split.truth, split.predicted) for name, split in splits.items()}
    return workdir, auroc


@pytest.fixture
def print_comparison(monkeypatch, capsys):
    def print_comparison(*arguments):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
        command.main()
        return capsys.readouterr().out

    return print_comparison


def test_command_compares_the_means_over_seeds(tmp_path, print_comparison):
    consistency = dataclasses.replace(DESCRIPTION, settings=_settings(Consistency(batch_size=32)))
    runs = [
        _finished_run(tmp_path / f"a{seed}", noise=0.5, seed=seed, description=consistency)
        for seed in (1, 2)
    ]
    against = [_finished_run(tmp_path / f"b{seed}", noise=2.0, seed=seed) for seed in (3, 4)]
    workdirs = [*(path for path, _ in runs), "--against", *(path for path, _ in against)]
    for split, options in (("validation", []), ("test", ["--split", "test"])):
        printed = print_comparison(*workdirs, *options)
        mean = np.mean([auroc[split] for _, auroc in runs])
        other_mean = np.mean([auroc[split] for _, auroc in against])
        assert f"af, {split} of ptb_xl" in printed
        assert f"{mean:.3f}     {other_mean:.3f}   {mean - other_mean:+.3f} (" in printed
    assert "runs     method Consistency, labelled 10, batch_size 32; mean of 2" in printed
    assert "against  method FineTuning, labelled 10, batch_size 64; mean of 2" in printed


def test_interval_covers_other_seeds(tmp_path, print_comparison):
    """Three differences alone, with Student's two degrees of freedom, give this width or more."""
    pairs = []
    for seed, noise in enumerate((0.3, 0.8, 1.6)):
        own = _finished_run(tmp_path / f"a{seed}", noise=noise, seed=seed)
        other = _finished_run(tmp_path / f"b{seed}", noise=1.0, seed=10 + seed)
        pairs.append((own, other))
    workdirs = [[pair[side][0] for pair in pairs] for side in (0, 1)]
    printed = print_comparison(*workdirs[0], "--against", *workdirs[1])
    assert "(95 % interval over patients and seeds)" in printed
    low, high = map(float, re.search(r"\((\S+) to (\S+)\)\n?$", printed).groups())
    differences = [own[1]["validation"] - other[1]["validation"] for own, other in pairs]
    half = scipy.stats.t.ppf(0.975, 2) * np.std(differences, ddof=1) / np.sqrt(3)
    assert (high - low) / 2 > 0.9 * half and low < np.mean(differences) < high
    alone = print_comparison(workdirs[0][0], "--against", workdirs[1][0])
    assert "(95 % interval over patients)" in alone


def test_runs_of_one_method_may_differ_in_their_seed_only(tmp_path):
    first, _ = _finished_run(tmp_path / "first", noise=1)
    slow_warmup = dataclasses.replace(FineTuning().optimizer, warmup=0.5)
    changes = {
        "task": {"task": "mi"},
        "labelled": {"settings": _settings(FineTuning(), labelled=20)},
        "optimizer.warmup": {"settings": _settings(FineTuning(optimizer=slow_warmup))},
    }
    for name, change in changes.items():
        description = dataclasses.replace(DESCRIPTION, **change)
        other, _ = _finished_run(tmp_path / name, noise=1, description=description)
        with pytest.raises(
            InputError, match=f"{name}: {name} is .*, in .*first it is .*; compare like with like"
        ):
            compare([first, other], [first], "test")


def test_the_two_methods_may_differ_in_their_settings(tmp_path):
    first, _ = _finished_run(tmp_path / "first", noise=1)
    more_labels = dataclasses.replace(DESCRIPTION, settings=_settings(FineTuning(), labelled=20))
    other, _ = _finished_run(tmp_path / "other", noise=1, description=more_labels)
    comparison = compare([first], [other], "test")
    assert comparison.against[0].description.settings["labelled"] == 20


def test_runs_on_other_recordings_and_repeated_runs_are_refused(tmp_path):
    first, _ = _finished_run(tmp_path / "first", noise=1)
    other, _ = _finished_run(tmp_path / "other", noise=1, patients=PATIENTS[::-1])
    with pytest.raises(
        InputError, match="patients of validation differ from those in .*first; use one data"
    ):
        compare([first], [other], "validation")
    with pytest.raises(InputError, match="first: on both sides; give the workdirs of two methods"):
        compare([first], [first], "test")
    for runs, against in (([], [first]), ([first], []), ([first, first], [first])):
        with pytest.raises(InputError, match="give one workdir or more, each once"):
            compare(runs, against, "test")


def test_folder_without_predictions_ends_with_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare", str(tmp_path), "--against", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        run(command.main)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1
    assert "give the workdir of a finished run" in error


def test_a_class_without_cases_is_told_in_words(tmp_path, print_comparison):
    description = dataclasses.replace(DESCRIPTION, classes=("af", "flutter"))
    truth = np.zeros((90, 2), np.float32)
    truth[::3, 0] = 1
    for name in "ab":
        scores = np.random.default_rng(ord(name)).random((90, 2)).astype(np.float32)
        splits = {"test": Predictions(np.arange(90), PATIENTS, truth, scores)}
        (tmp_path / name).mkdir()
        save(tmp_path / name, description, splits)
    printed = print_comparison(tmp_path / "a", "--against", tmp_path / "b", "--split", "test")
    assert "nan" not in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("flutter"))
    assert line.split("n/a")[2].strip() == "0 cases and 90 controls in test, and it needs both"
