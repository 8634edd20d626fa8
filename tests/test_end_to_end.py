"""The commands as users type them: killed and resumed runs, results of runs, and wrong input.

ECGJAX_KILLS is the number of times that a run is killed (default 2).
"""

import csv
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import OPTIONS

import ecgjax
from ecgjax import encoders
from ecgjax.__main__ import COMMANDS
from ecgjax.encoders.unet1d import Unet1d
from ecgjax.launch import benchmark, compare, finetune, prepare, pretrain
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.runlog import read_metrics

KILLS = 3
STEPS = 20


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts `python -m ecgjax.launch.COMMAND`, with `tiny` for the tiny encoder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(ecgjax.__file__).parents[1])}
    output = tmp_path_factory.mktemp("output")

    def start(command, *arguments, tiny=False):
        log = output / str(time.monotonic_ns())
        program = ["-m", f"ecgjax.launch.{command}"]
        if tiny:
            program = [Path(__file__).with_name("helpers") / "tiny_command.py", command]
        words = [str(word) for word in (sys.executable, *program, *arguments)]
        with log.open("w") as file:
            process = subprocess.Popen(words, env=environment, cwd=output, stdout=file, stderr=file)
        return process, log

    return start


def _finish(process, log) -> str:
    """Waits for a process that must succeed; returns its output."""
    process.wait(timeout=300)
    output = log.read_text()
    assert process.returncode == 0, output
    return output


def _manifest(workdir) -> dict:
    """Returns the SHA-256 of every array in the newest checkpoint, and of the config."""
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def _stop_after(process, workdir, step, delay_s, number) -> None:
    """Sends a signal to a process `delay_s` after it has logged `step`, unless it ends before."""
    while process.poll() is None:
        logged = read_metrics(workdir)
        if logged and logged[-1]["step"] >= step:
            time.sleep(delay_s)
            process.send_signal(number)
            break
        time.sleep(0.01)
    process.wait()


def test_killed_run_ends_bit_for_bit_like_an_uninterrupted_one(start, prepared, tmp_path):
    """SIGTERM stops the run first, with a checkpoint; then it is killed at random moments."""
    options = ["--data", prepared, *OPTIONS, "--batch-size", 8, "--num-steps", STEPS]
    options += ["--save-every", 2, "--log-every", 1, "--augmentation.crop-s", 0.64]
    whole = tmp_path / "whole"
    stitched = tmp_path / "stitched"
    # The tiny encoder: a run of the real one would mostly be compilation.
    start = functools.partial(start, "pretrain", *options, tiny=True)
    output = _finish(*start("--workdir", whole))
    for name in ("loss.png", "pair.png", "map.png"):
        assert (whole / name).stat().st_size > 5000
        assert str(whole / name) in output
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    killed_at = []
    for number in range(KILLS):
        process, log = start("--workdir", stitched)
        # A random moment in this run's part of the steps, often while a checkpoint is written.
        step = draw.randrange(number * STEPS // KILLS, (number + 1) * STEPS // KILLS - 2) + 1
        if number:
            _stop_after(process, stitched, step, draw.uniform(0, 0.4), signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL, (seed, log.read_text())
        else:
            _stop_after(process, stitched, step, 0, signal.SIGTERM)
            checkpoint = find_checkpoint(stitched)
            last = log.read_text().splitlines()[-1]
            assert process.returncode == 128 + signal.SIGTERM, (seed, last)
            assert f"at step {checkpoint.name}; checkpoint {checkpoint}; the same command" in last
        killed_at.append(read_metrics(stitched)[-1]["step"])
    output = _finish(*start("--workdir", stitched, "--no-first-look"))
    assert "resumes at step" in output, (seed, killed_at, output)
    assert _manifest(stitched) == _manifest(whole), (seed, killed_at)
    steps = [line["step"] for line in read_metrics(stitched)]
    assert steps == list(range(1, STEPS + 1)), (seed, killed_at)
    losses = [[line["loss"] for line in read_metrics(workdir)] for workdir in (whole, stitched)]
    assert losses[0] == losses[1], (seed, killed_at)


QUICK = ["--batch-size", 16, "--epochs", 0, "--min-steps", 2]


@pytest.mark.parametrize(
    ("options", "start", "share"),
    [
        (QUICK, "random weights", 1),
        ([*QUICK, "--checkpoint", "RUN", "--labels", "50%"], "PatientContrast", 0.5),
        (["--method", "linear_probe", "--checkpoint", "RUN"], "PatientContrast", 1),
        (["--method", "linear_probe", "--labels", "0.2"], "random weights", 0.2),
    ],
    ids=["scratch", "checkpoint", "probe", "random probe"],
)
def test_finetune_leaves_a_classifier_figures_and_plots(
    command, prepared, records, workdir, tmp_path, options, start, share
):
    options = [workdir if option == "RUN" else option for option in options]
    status, out, err = command(
        finetune, "--data", prepared, "--task", "af", "--workdir", tmp_path / "ft", *options
    )
    assert status == 0, err
    figures = json.loads((tmp_path / "ft" / "metrics.json").read_text())
    assert figures["labelled"] == round(share * len(records.split("train")))
    for split in ("validation", "test"):
        value, low, high = figures[split]["auroc"]["af"]
        assert 0 <= low <= value <= high <= 1 and f"{value:.3f} ({low:.3f}-{high:.3f})" in out
        assert figures[split]["recordings"] == len(records.split(split))
    classifier = ecgjax.load(tmp_path / "ft")
    assert classifier.config["task"] == "af" and start in str(classifier.config["start"])
    assert (tmp_path / "ft" / "loss.png").exists() == ("linear_probe" not in options)
    copy = shutil.copytree(tmp_path / "ft", tmp_path / "copy")
    status, out, _ = command(compare, copy, "--against", tmp_path / "ft", "--split", "test")
    assert status == 0
    assert f"af{figures['test']['auroc']['af'][0]:>22.3f}" in out
    assert "+0.000 (+0.000 to +0.000)" in out


@pytest.mark.parametrize(
    ("labels", "share"), [("1.0", 1), ("all", 1), ("10%", 0.1), ("0.1", 0.1), ("9", None)]
)
def test_finetune_reads_an_amount_of_labels(
    command, prepared, records, tmp_path, monkeypatch, labels, share
):
    """1.0 are all labels, not a single one."""
    numbers = []
    available = len(records.split("train"))
    monkeypatch.setattr(
        finetune, "finetune", lambda *_, labels, **__: numbers.append(labels.number(available))
    )
    options = ["--data", prepared, "--task", "af", "--workdir", tmp_path / "ft"]
    status, _, err = command(finetune, *options, "--labels", labels)
    assert status == 0, err
    assert numbers == [9 if share is None else round(share * available)]


def test_finetune_learns_from_recordings_without_labels(command, prepared, workdir, tmp_path):
    options = ["--method", "consistency", "--labels", "0.5", *QUICK]
    options += ["--unlabelled", 2, "--checkpoint", workdir]
    status, out, err = command(
        finetune, "--data", prepared, "--task", "af", "--workdir", tmp_path / "ft", *options
    )
    assert status == 0, err
    figures = json.loads((tmp_path / "ft" / "metrics.json").read_text())
    assert f"{figures['test']['auroc']['af'][0]:.3f}" in out
    assert ecgjax.load(tmp_path / "ft").config["consistency"]["unlabelled"] == 2


def test_finetune_marks_waves(command, prepared, monkeypatch, tmp_path):
    monkeypatch.setitem(encoders.ENCODERS, "unet1d", Unet1d(widths=(4, 8)))
    options = ["--method", "local_contrast", "--labels", 10, "--batch-size", 8]
    options += ["--min-steps", 3, "--epochs", 0]
    options += OPTIONS[OPTIONS.index("--augmentation.gain") :]
    status, out, err = command(
        finetune, "--data", prepared, "--task", "waves", "--workdir", tmp_path / "ft", *options
    )
    assert status == 0, err
    figures = json.loads((tmp_path / "ft" / "metrics.json").read_text())
    assert figures["labelled"] == 10
    copy = shutil.copytree(tmp_path / "ft", tmp_path / "copy")
    status, table, _ = command(compare, copy, "--against", tmp_path / "ft", "--split", "test")
    assert status == 0
    for wave in ("P", "QRS", "T", "mean"):
        value, low, high = figures["test"]["dice"][wave]
        assert 0 <= low <= value <= high <= 1 and f"{value:.3f} ({low:.3f}-{high:.3f})" in out
        assert f"{wave:16}{value:8.3f}{value:10.3f}   +0.000 (+0.000 to +0.000)" in table
    f1 = figures["test"]["boundaries"]["QRS onset"]["f1"][0]
    lines = out.partition("\ntest, boundaries ")[2].splitlines()
    assert next(line for line in lines if line.startswith("QRS onset")).split()[2] == f"{f1:.3f}"
    assert min((tmp_path / "ft" / name).stat().st_size for name in ("waves.png", "loss.png")) > 5000


def _rows(out) -> list[dict]:
    return list(csv.DictReader((out / "benchmark.csv").read_text().splitlines()))


def test_benchmark_keeps_the_scores_of_random_encoders(command, prepared, workdir, tmp_path):
    options = ["--checkpoint", workdir, "--data", prepared, "--tasks", "af"]
    options += ["--labels", 16, "--seeds", 2, "--train-at", 1]
    options += ["--random-scores", tmp_path / "random"]
    status, out, err = command(benchmark, *options, "--out", tmp_path / "first")
    assert status == 0 and "random 1" in out + err
    status, out, err = command(benchmark, *options, "--out", tmp_path / "second")
    assert status == 0 and "pre-trained" in out + err and "random 1" not in out + err
    assert _rows(tmp_path / "first") == _rows(tmp_path / "second")


def test_benchmark_compares_all_methods_and_does_no_training_twice(
    command, prepared, records, workdir, tmp_path
):
    out_folder = tmp_path / "out"
    options = ["--checkpoint", workdir, "--data", prepared, "--out", out_folder, "--tasks", "af"]
    options += ["--labels", 16, "all", "--seeds", 2, "--train-at", 16]
    options += ["--trained", "scratch", "finetuned", "--finetuning.batch-size", 16]
    options += ["--finetuning.epochs", 0, "--finetuning.min-steps", 2]
    status, out, err = command(benchmark, *options)
    assert status == 0, err
    rows = _rows(out_folder)
    every = str(len(records.split("train")))
    expected = {("16", method) for method in ("frozen", "random", "scratch", "finetuned")}
    expected |= {(every, method) for method in ("frozen", "random")}
    assert {(row["labels"], row["way"]) for row in rows} == expected
    for row in rows:
        assert 0 <= float(row["low"]) <= float(row["auroc"]) <= float(row["high"]) <= 1
        assert (row["gain"] == "") == (row["way"] == "random")
    for name in ("per_seed.csv", "benchmark.md", "benchmark.png", "settings.json"):
        assert (out_folder / name).stat().st_size > 100
    assert (out_folder / "benchmark.md").read_text() in out
    trained = {
        path: path.stat().st_mtime_ns for path in out_folder.glob("*/checkpoints/*/manifest")
    }
    assert len(trained) == 4
    status, _, err = command(benchmark, *options)
    assert status == 0, err
    assert _rows(out_folder) == rows
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


PRETRAIN = [pretrain, "--data", "DATA", "--workdir", "NEW"]
FINETUNE = [finetune, "--data", "DATA", "--task", "af", "--workdir", "NEW"]
BENCHMARK = [benchmark, "--checkpoint", "RUN", "--data", "DATA", "--out", "NEW"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PRETRAIN, "--data", "absent"], "absent: no such folder"),
        ([*PRETRAIN, "--data", "EMPTY"], "EMPTY: no prepared data set"),
        ([*PRETRAIN, "--batch-size", 4096], "batch of 4096 from "),
        ([*PRETRAIN, "--batch-size", 0], "batch of 0 over 8 devices"),
        (
            [*PRETRAIN, "--batch-size", 12],
            "batch of 12 over 8 devices: give --batch-size a multiple of 8",
        ),
        ([*PRETRAIN, "--batch-size", "many"], "Error parsing --batch-size"),
        ([*PRETRAIN, "--workdir", "RUN", *OPTIONS, "--seed", 7], "pretraining.seed was 0, now 7"),
        ([*PRETRAIN, "--encoder", "vit"], "invalid choice 'vit'"),
        ([*PRETRAIN, "--preprocessing.rate-hz", -100], "must be positive"),
        ([*PRETRAIN, "--augmentation.crop-s", 0], "crop_s must be positive"),
        ([*PRETRAIN, "--nonsense"], "--nonsense"),
        ([*FINETUNE, "--data", "EMPTY"], "EMPTY: no prepared data set"),
        ([*FINETUNE, "--checkpoint", "EMPTY"], "EMPTY: no ecgjax checkpoint in it"),
        (
            [*FINETUNE, "--checkpoint", "RUN", "--encoder", "pclr_resnet"],
            "RUN: holds a compact_resnet, not a pclr_res",
        ),
        (
            [*FINETUNE, "--task", "av_block_1"],
            "validation and test cannot test av_block_1",
        ),
        ([*FINETUNE, "--task", "heartburn"], "--task heartburn: no task of this name; known: "),
        ([*FINETUNE, "--splits", "absent.csv"], "absent.csv: no such file; give a table as CSV"),
        ([*FINETUNE, "--folds", 2], "--folds 2: give 3 or more"),
        ([*FINETUNE, "--refit"], "--refit: there are no folds; give --folds 5, or leave it out"),
        (
            [*FINETUNE, "--splits", "absent.csv", "--folds", 5],
            "--splits and --folds: give one of them",
        ),
        ([*FINETUNE, "--folds", 3, "--test-data", "DATA"], "is the data set of --data"),
        ([*FINETUNE, "--labels", 100000], "100000 labelled recordings wanted of"),
        ([*FINETUNE, "--labels", "1.5"], "labels 1.5: not an amount; give all, a count"),
        ([*FINETUNE, "--labels", 0], "labels 0: not an amount; give all"),
        ([*FINETUNE, "--labels", -1], "labels -1: not an amount; give all"),
        ([*FINETUNE, "--labels", "few"], "labels few: not an amount; give all"),
        ([*FINETUNE, "--method", "linear_probe", "--batch-size", 16], "--batch-size"),
        (
            [*FINETUNE, "--method", "consistency"],
            "no recording is left without a label; give --labels",
        ),
        (
            [*FINETUNE, "--method", "consistency", "--pseudo.threshold", 0.3],
            "give a threshold above 0.5",
        ),
        (
            [*FINETUNE, "--method", "local_contrast"],
            "--task waves and --method local_contrast belong together; give both or neither",
        ),
        (
            [*FINETUNE, "--task", "waves"],
            "--task waves with FineTuning: --task waves and --method local_contrast belong",
        ),
        ([finetune, "--task", "af"], "--data"),
        ([prepare, "--dataset", "ptb_xl", "--out", "NEW", "--source", "absent"], "absent"),
        ([prepare, "--dataset", "nonsense", "--out", "NEW"], "data set 'nonsense' is unknown"),
        ([prepare, "--nonsense"], "--help explains"),
        ([*BENCHMARK, "--checkpoint", "absent"], "absent: no such folder"),
        ([*BENCHMARK, "--tasks", "af", "--trained", "magic", "--labels", 16], "magic"),
        ([*BENCHMARK, "--tasks", "af", "--seeds", 0], "give one seed or more"),
        ([*BENCHMARK, "--tasks", "af", "--labels", 99999], "lower --labels"),
        ([*BENCHMARK, "--labels", 50, "1.5"], "labels 1.5: not an amount; give all"),
        ([*BENCHMARK, "--labels", 50, 0], "labels 0: not an amount; give all"),
        ([*BENCHMARK, "--labels", -1], "labels -1: not an amount; give all"),
        ([*BENCHMARK, "--train-at", "few"], "labels few: not an amount; give all"),
    ],
    ids=lambda value: "_".join(str(word) for word in value[-2:]) if isinstance(value, list) else "",
)
def test_wrong_input_ends_with_one_line(command, prepared, workdir, tmp_path, arguments, message):
    (tmp_path / "EMPTY").mkdir()
    places = {
        "DATA": prepared,
        "RUN": workdir,
        "NEW": tmp_path / "NEW",
        "EMPTY": tmp_path / "EMPTY",
    }
    status, out, err = command(*(places.get(word, word) for word in arguments))
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and "Traceback" not in out + err, (status, err)
    assert message in errors[0].replace(str(workdir), "RUN")
    assert err.splitlines()[-1] == errors[0]


def test_commands_run_as_modules_and_explain_themselves(start):
    processes = {name: start(name, "--help") for name in ("prepare", "benchmark")}
    for name, process in processes.items():
        output = _finish(*process)
        assert f"python -m ecgjax.launch.{name}" in output and "--out" in output
    # The others are started in the same way; test_documents parses their options.
    for name in COMMANDS:
        code = (Path(ecgjax.__file__).with_name("launch") / f"{name}.py").read_text()
        assert code.partition('if __name__ == "__main__":')[2].strip().endswith("run(main)"), name
