"""The table that compares methods says what the benchmarks of its runs say, and every method has its place in it."""

import csv
import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(
    str(Path(__file__).parents[1])
)  # where benchmarks/ is; last, so that an installed ecgjax comes first
from benchmarks import methods
from ecgjax.errors import InputError
from ecgjax.objectives import OBJECTIVES
from ecgjax.pretrained import load
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


def _read(text):
    """Titles, and tables as {first cell: other cells}."""
    titles, tables = [], []
    for line in text.splitlines():
        if line.endswith("labels:"):
            titles.append(line)
            tables.append({})
        elif line.startswith("| ") and "---" not in line:
            first, *others = line[2:-2].split(" | ")
            tables[-1][first] = others
    return titles, tables


def test_gains_are_averaged_over_tasks_and_counted_where_they_are_certain(tmp_path, capsys):
    (tmp_path / "settings.json").write_text(json.dumps({"labels": [100, 0]}))
    few = [*_rows("af", 100, 0.9, 0.2), *_rows("mi", 100, 0.7, -0.1)]
    every = [*_rows("af", 5000, 0.95, 0.2), *_rows("mi", 4000, 0.7, 0.05)]
    better = [*_rows("af", 100, 0.95, 0.2), *_rows("mi", 100, 0.75, 0.1)]
    _probed(tmp_path, "simclr-compact_resnet", [*few, *every])
    _probed(tmp_path, "swav-compact_resnet", [*better, *every])
    _probed(
        tmp_path, "jepa-compact_resnet", few[:2], done=False
    )  # its second task is still being probed
    _probed(
        tmp_path, "simclr-xresnet1d50", [*_rows("af", 100, 0.5, -0.2), *_rows("mi", 100, 0.5, -0.2)]
    )
    methods.collect(tmp_path)
    table = (tmp_path / "methods.md").read_text()
    assert table.strip() == capsys.readouterr().out.strip() and "`jepa`" not in table
    titles, (first, second, other) = _read(table)
    assert titles == [
        "compact_resnet, 100 labels:",
        "compact_resnet, all labels:",
        "xresnet1d50, 100 labels:",
    ]
    assert list(first) == ["method", "`swav`", "`simclr`", "random encoder"]  # the best first
    assert first["`simclr`"][:3] == [
        "+0.200, 1 of 2",
        "0.900 (+0.300, +0.200 to +0.400)",
        "0.700 (+0.100, -0.100 to +0.200)",
    ]
    assert first["random encoder"] == ["", "0.600", "0.600", ""]
    assert second["`simclr`"][0] == "+0.225, 2 of 2" and other["`simclr`"][0] == "-0.100, 0 of 2"
    assert "[1]" in first["`simclr`"][-1] and "[1] hhi-aml" in table.rpartition("|")[2]
    with (tmp_path / "methods.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 20


def test_a_folder_keeps_to_its_terms(tmp_path):
    settings = methods.Methods(data=tmp_path / "data", out=tmp_path / "out")
    for same in (settings, dataclasses.replace(settings, encoder="own", methods=("jepa",))):
        methods._refuse_other_terms(same)
    for name, value in {
        "recordings": 281_600,
        "rate_hz": None,
        "labels": (50,),
        "data": tmp_path / "other",
    }.items():
        with pytest.raises(
            InputError, match=rf"settings\.json: {name} is .* there, .* was asked for; give ano"
        ):
            methods._refuse_other_terms(dataclasses.replace(settings, **{name: value}))


def test_a_folder_that_knows_no_crops_takes_none(tmp_path):
    settings = methods.Methods(data=tmp_path / "data", out=tmp_path)
    methods._refuse_other_terms(settings)
    file = tmp_path / "settings.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in kept.items() if name != "crop_s"}))
    methods._refuse_other_terms(settings)
    with pytest.raises(InputError, match="crop_s is None there, 2.5 was asked for"):
        methods._refuse_other_terms(dataclasses.replace(settings, crop_s=2.5))


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
            "--crop-s 2.5: jepa take no crops of it; leave them out",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_hours_of_work(wrong, message, records):
    with pytest.raises(InputError, match=message):
        methods._refuse_what_cannot_be(methods.Methods(records.path, Path("out"), **wrong))


def test_a_step_that_fails_ends_the_command_with_its_status(monkeypatch):
    failed = subprocess.CompletedProcess([], 2)
    monkeypatch.setattr(methods.subprocess, "run", lambda command: failed)
    with pytest.raises(SystemExit, match="2"):
        methods._command("pretrain")


def test_every_method_has_an_encoder_of_its_own():
    assert methods.OWN.keys() == OBJECTIVES.keys() >= methods.REPORTED.keys()
    for method, preset in methods.OWN.items():
        assert isinstance(PRESETS[preset].objective, OBJECTIVES[method])


@pytest.mark.usefixtures("tiny_encoders")
def test_a_method_is_pre_trained_and_probed_once(prepared, tmp_path, monkeypatch):
    """The commands are run here, with the tiny encoder, instead of in processes of their own."""
    said = []

    def here(command):
        said.append(command[2].rpartition(".")[2])
        monkeypatch.setattr(sys, "argv", command[2:])
        importlib.import_module(command[2]).main()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(methods.subprocess, "run", here)
    words = [
        "--data",
        prepared,
        "--out",
        tmp_path,
        "--methods",
        "patient_contrast",
        "--recordings",
        64,
    ]
    words += ["--batch-recordings", 32, "--tasks", "af", "--labels", 16, 0, "--seeds", 2]
    words += ["--crop-s", 1.5, "--random-encoders", 1]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["methods", *map(str, words)])
        methods.main()
    run = load(tmp_path / "patient_contrast-compact_resnet").config["pretraining"]
    assert run["objective"]["augmentation"]["crop_s"] == 1.5
    (kept,) = {file.stem for file in tmp_path.glob("random/*/*-1-*.npy")}
    assert kept == "af-16-1-weights-0"
    assert said == ["pretrain", "benchmark"]  # the second time there is nothing left to do
    titles, (few, every) = _read((tmp_path / "methods.md").read_text())
    assert titles == ["compact_resnet, 16 labels:", "compact_resnet, all labels:"]
    assert few["method"][1] == "af" and "`patient_contrast`" in every
