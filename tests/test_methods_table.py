"""The comparison of all methods: its table, its settings and its commands."""

import csv
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

# The folder of benchmarks/, last, so that an installed ecgjax comes first.
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import methods
from ecgjax.classifier import load
from ecgjax.errors import InputError
from ecgjax.objectives import OBJECTIVES
from ecgjax.workflows.presets import PRESETS

COLUMNS = ("task", "labels", "way", "auroc", "low", "high", "gain", "gain_low", "gain_high")


def _probed(out, run, rows, *, done=True):
    folder = out / run / "benchmark"
    folder.mkdir(parents=True)
    with (folder / "benchmark.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *rows])
    if done:
        (out / run / methods.DONE).touch()


def _rows(task, labels, auroc, low):
    gain = auroc - 0.6
    return [
        (task, labels, "frozen", auroc, 0, 1, gain, low, gain + 0.1),
        (task, labels, "random", 0.6, 0, 1, "", "", ""),
    ]


def _parse(text):
    """Returns titles, and tables as {first cell: other cells}."""
    titles = []
    tables = []
    for line in text.splitlines():
        if line.endswith("labels:"):
            titles.append(line)
            tables.append({})
        elif line.startswith("| ") and "---" not in line:
            first, *others = line[2:-2].split(" | ")
            tables[-1][first] = others
    return titles, tables


def test_the_table_has_mean_gains_and_the_number_of_tasks_with_a_certain_gain(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(json.dumps({"labels": [100, 0]}))
    few = [*_rows("af", 100, 0.9, 0.2), *_rows("mi", 100, 0.7, -0.1)]
    every = [*_rows("af", 5000, 0.95, 0.2), *_rows("mi", 4000, 0.7, 0.05)]
    better = [*_rows("af", 100, 0.95, 0.2), *_rows("mi", 100, 0.75, 0.1)]
    _probed(tmp_path, "simclr-compact_resnet", [*few, *every])
    _probed(tmp_path, "swav-compact_resnet", [*better, *every])
    # The second task of jepa is not finished yet.
    _probed(tmp_path, "jepa-compact_resnet", few[:2], done=False)
    worse = [*_rows("af", 100, 0.5, -0.2), *_rows("mi", 100, 0.5, -0.2)]
    _probed(tmp_path, "simclr-xresnet1d50", worse)
    methods.collect(tmp_path)
    table = (tmp_path / "methods.md").read_text()
    assert table.strip() == capsys.readouterr().out.strip() and "`jepa`" not in table
    titles, (first, second, other) = _parse(table)
    assert titles == [
        "compact_resnet, 100 labels:",
        "compact_resnet, all labels:",
        "xresnet1d50, 100 labels:",
    ]
    assert list(first) == ["method", "`swav`", "`simclr`", "random encoder"]  # the best first
    assert first["`simclr`"][:3] == [
        "+0.200 (1 of 2)",
        "0.900 (+0.300, +0.200 to +0.400)",
        "0.700 (+0.100, -0.100 to +0.200)",
    ]
    assert first["random encoder"] == ["", "0.600", "0.600", ""]
    assert second["`simclr`"][0] == "+0.225 (2 of 2)"
    assert other["`simclr`"][0] == "-0.100 (0 of 2)"
    assert "[1]" in first["`simclr`"][-1] and "[1] hhi-aml" in table.rpartition("|")[2]
    with (tmp_path / "methods.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 20


def test_a_folder_with_other_settings_is_refused(tmp_path):
    settings = methods.Methods(data=tmp_path / "data", out=tmp_path / "out")
    for same in (settings, dataclasses.replace(settings, encoder="own", methods=("jepa",))):
        methods._check_folder(same)
    for name, value in {
        "recordings": 281_600,
        "rate_hz": None,
        "labels": (50,),
        "data": tmp_path / "other",
    }.items():
        message = rf"settings\.json: {name} is .* there, but .* here; give another --out"
        with pytest.raises(InputError, match=message):
            methods._check_folder(dataclasses.replace(settings, **{name: value}))


def test_a_folder_that_is_older_than_crops_refuses_them(tmp_path):
    settings = methods.Methods(data=tmp_path / "data", out=tmp_path)
    methods._check_folder(settings)
    file = tmp_path / "settings.json"
    stored = json.loads(file.read_text())
    del stored["crop_s"]
    file.write_text(json.dumps(stored))
    methods._check_folder(settings)
    with pytest.raises(InputError, match="crop_s is None there, but 2.5 here"):
        methods._check_folder(dataclasses.replace(settings, crop_s=2.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"methods": ("simclr", "nope")},
            "--methods simclr nope: give one or more of .* patient_contrast",
        ),
        ({"methods": ()}, "--methods : give one or more"),
        ({"encoder": "resnet"}, "--encoder resnet: give one or more of own compact_resnet"),
        ({"tasks": ("superclas",)}, "--tasks superclas: give one or more of"),
        ({"recordings": 32}, "--recordings 32, --batch-recordings 64: give two or more to a batch"),
        ({"random_encoders": 4}, "--random-encoders 4: give 1 to 3, the number of seeds"),
        (
            {"crop_s": 2.5, "methods": ("cpc", "jepa")},
            "--crop-s 2.5: jepa cannot crop recordings; leave them out",
        ),
    ],
)
def test_wrong_settings_are_refused_before_hours_of_work(wrong, message, records):
    with pytest.raises(InputError, match=message):
        methods._check(methods.Methods(records.path, Path("out"), **wrong))


def test_a_command_that_fails_ends_the_comparison_with_its_status(monkeypatch):
    failed = subprocess.CompletedProcess([], 2)
    monkeypatch.setattr(methods.subprocess, "run", lambda command: failed)
    with pytest.raises(SystemExit, match="2"):
        methods._run_command("pretrain")


def test_every_method_has_a_preset_for_its_own_encoder():
    assert methods.OWN_PRESETS.keys() == OBJECTIVES.keys() >= methods.REPORTED.keys()
    for method, preset in methods.OWN_PRESETS.items():
        assert isinstance(PRESETS[preset].objective, OBJECTIVES[method])


@pytest.mark.usefixtures("tiny_encoders")
def test_a_method_is_pre_trained_and_probed_once(prepared, tmp_path, monkeypatch):
    """The commands run in this process, with the tiny encoder."""
    commands = []

    def run_in_process(command):
        commands.append(command[2].rpartition(".")[2])
        monkeypatch.setattr(sys, "argv", command[2:])
        importlib.import_module(command[2]).main()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(methods.subprocess, "run", run_in_process)
    options = ["--data", prepared, "--out", tmp_path, "--methods", "patient_contrast"]
    options += ["--recordings", 64, "--batch-recordings", 32, "--crop-s", 1.5]
    options += ["--tasks", "af", "--labels", 16, "all", "--seeds", 2, "--random-encoders", 1]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["methods", *map(str, options)])
        methods.main()
    run = load(tmp_path / "patient_contrast-compact_resnet").config["pretraining"]
    assert run["objective"]["augmentation"]["crop_s"] == 1.5
    (scores,) = {file.stem for file in tmp_path.glob("random/*/*-1-*.npy")}
    assert scores == "af-16-1-weights-0"
    assert commands == ["pretrain", "benchmark"]  # the second call has nothing left to do
    titles, (few, every) = _parse((tmp_path / "methods.md").read_text())
    assert titles == ["compact_resnet, 16 labels:", "compact_resnet, all labels:"]
    assert few["method"][1] == "af" and "`patient_contrast`" in every
