"""The ablation of recipes: its rows, read-outs, table, resumption, and the script for a GPU."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

# The folder of benchmarks/, last, so that an installed ecgjax comes first.
sys.path.append(str(Path(__file__).parents[1]))
from benchmarks import recipe, recipe_table
from benchmarks.architecture import check_architecture, file_name, split_architecture
from benchmarks.crops import with_crops
from benchmarks.probes import Probes
from benchmarks.read_outs import BlockReadOut, read_through
from ecgjax.augment import Augmentation
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.vit1d import Vit1d
from ecgjax.errors import InputError
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.lejepa import Lejepa
from ecgjax.objectives.simclr import Simclr
from ecgjax.objectives.swav import Swav
from ecgjax.preprocessing import Preprocessing
from ecgjax.pretrained import Encoder

SCRIPT = Path(__file__).parents[1] / "benchmarks/recipe_gpu.sh"
PROBES = ["--probes.tasks", "af", "--probes.labels", "16", "--probes.seeds", "2"]


def test_an_architecture_is_one_word():
    assert split_architecture("s4:widths=[8,8]/layers=1") == ("s4", ("widths=[8,8]", "layers=1"))
    assert split_architecture("s4") == ("s4", ())
    assert file_name("s4:widths=[8,8]", "", "2.5") == "s4_widths=_8_8_-2.5"
    check_architecture("encoder", "own", "own")
    for wrong in ("resnet", "s4:width=3"):
        with pytest.raises(InputError, match="give one or more of|width: is unknown"):
            check_architecture("encoder", wrong, "own")


def test_crops_change_the_views_and_nothing_else():
    same = with_crops(Simclr(), "5", same_views=True)
    assert same == dataclasses.replace(Simclr(), augmentation=Augmentation(crop_s=5.0))
    own = with_crops(Swav(), "10", same_views=False)
    views = dataclasses.replace(Swav().augmentation, crop_s=10.0)
    assert own == dataclasses.replace(Swav(), augmentation=views, small_crops=0)
    multi = with_crops(Lejepa(), "multi", same_views=True)
    assert (multi.augmentation.crop_s, multi.small_crops, multi.small_crop_s) == (5.0, 2, 2.5)
    assert with_crops(Jepa(), "own", same_views=True) == Jepa()
    for objective, crops in ((Simclr(), "multi"), (Jepa(), "2.5")):
        with pytest.raises(LookupError):
            with_crops(objective, crops, same_views=True)
    with pytest.raises(InputError, match="--crops wide: give own, multi or a number"):
        with_crops(Simclr(), "wide", same_views=True)


def _encoder(module):
    preprocessing = Preprocessing(seconds=2.0)
    signal = np.random.default_rng(0).normal(size=(3, 200, 12)).astype(np.float32)
    variables = jax.jit(lambda: module.init(jax.random.key(0), signal, train=False))()
    return Encoder(module, dict(variables), preprocessing), signal


def _apply(encoder, signal):
    outputs = encoder.module.apply(encoder.variables, signal, train=False)
    return [np.asarray(output) for output in outputs]


def test_a_read_out_joins_statistics_of_the_last_blocks():
    encoder, signal = _encoder(CompactResnet(widths=(4, 4, 8, 8)))
    _, own = encoder.module.apply(encoder.variables, signal, train=False)
    _, blocks = read_through(encoder, "blocks").module.apply(encoder.variables, signal, train=False)
    assert blocks.shape == (3, 2 * (4 + 8 + 8))
    np.testing.assert_allclose(blocks[:, -16:], own, rtol=1e-6)  # of the last block
    spread = read_through(encoder, "blocks_std")
    tokens, embedding = _apply(spread, signal)
    np.testing.assert_allclose(embedding[:, -8:], np.std(tokens, axis=1), rtol=1e-4, atol=1e-6)
    assert read_through(encoder, "own") is encoder
    assert hash(spread.module) == hash(BlockReadOut(encoder.module, "blocks_std"))  # compiled once


def test_an_encoder_without_blocks_has_its_own_read_out_only():
    encoder, signal = _encoder(Vit1d(width=8, layers=1, heads=2, patch=10))
    with pytest.raises(InputError, match="--read-outs blocks: Vit1d has no blocks; give own"):
        _apply(read_through(encoder, "blocks"), signal)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objectives": ("simclr", "nope")}, "--objectives nope: give some of random"),
        ({"architectures": ("resnet",)}, "--architectures resnet: give one or more of"),
        ({"recordings": 4}, "--recordings 4, --batch-recordings 128: give two or more"),
        (
            {"architectures": ("lead_branches",), "probes": Probes(read_outs=("own", "blocks"))},
            "--read-outs blocks: LeadBranches has no blocks; give own",
        ),
    ],
)
def test_wrong_settings_are_refused_before_hours_of_work(wrong, message):
    arguments = dataclasses.replace(recipe.Arguments(Path("data"), Path("out")), **wrong)
    with pytest.raises(InputError, match=message):
        list(recipe.combinations(arguments))


@pytest.mark.parametrize("wrong", [{"tasks": ("superclas",)}, {"read_outs": ()}, {"seeds": 0}])
def test_wrong_probes_are_refused(wrong):
    with pytest.raises(InputError, match="--probes"):
        Probes(**wrong)


@pytest.fixture
def run_recipe(monkeypatch, prepared, tmp_path, tiny_encoders):
    def run_recipe(*options):
        words = ["recipe", "--data", prepared, "--out", tmp_path, "--architectures"]
        words += ["compact_resnet", "--batch-recordings", 16, "--recordings", 32, *PROBES]
        monkeypatch.setattr(sys, "argv", [*map(str, words), *map(str, options)])
        recipe.main()
        with (tmp_path / "recipe.csv").open() as file:
            return list(csv.DictReader(file))

    return run_recipe


def test_rows_are_trained_once_and_the_table_grows(run_recipe, monkeypatch, tmp_path, capsys):
    assert [line["objective"] for line in run_recipe("--objectives", "random")] == ["random"]
    both = ("--objectives", "random", "patient_contrast", "--equal", "time", "--crops", "1")
    lines = run_recipe(*both, "multi")
    rows = [(line["objective"], line["equal"], int(line["recordings"])) for line in lines]
    assert sorted(rows) == [
        ("patient_contrast", "time", 32),  # the first row: its time is that of the recordings
        ("random", "", 0),
    ]
    assert "left out: patient_contrast cannot cut crops multi" in capsys.readouterr().err
    assert all(0 <= float(line["auroc"]) <= 1 for line in lines)
    monkeypatch.setattr(recipe, "pretrain", None)  # nothing is left to train
    assert run_recipe(*both) == lines
    table = (tmp_path / "recipe.md").read_text()
    assert table.count("\n") == 4 and "mean (16)" in table


def test_the_table_has_the_best_row_first():
    facts = dict.fromkeys(recipe_table.ROW, "x")
    lines = [
        {**facts, "objective": name, "task": task, "labels": "100", "auroc": value}
        for name, values in (("a", (0.5, 0.6)), ("b", (0.8, 1.0)))
        for task, value in zip(("af", "mi"), values, strict=True)
    ]
    _, _, first, second = recipe_table.markdown(lines).splitlines()
    assert first == "| x | x | x | b | x | x | x | .800 | 1 | .900 |"
    assert second.endswith("| .500 | .600 | .550 |")


@pytest.mark.parametrize("mode", [(), ("--smoke",)])
def test_the_commands_of_the_gpu_script_are_accepted(mode, tmp_path, prepared, monkeypatch):
    """A stub in place of Python writes its arguments down."""
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" END >>{tmp_path}/calls\n')
    stub.chmod(0o755)
    environment = os.environ | {"PYTHON": str(stub), "SMOKE_DATA": str(prepared)}
    subprocess.run([SCRIPT, *mode], env=environment, check=True, capture_output=True)
    calls = (tmp_path / "calls").read_text().split("END\n")[:-1]
    assert len(calls) == 4
    for call in calls:
        words = call.splitlines()
        assert words[:2] == ["-m", "benchmarks.recipe"]
        monkeypatch.setattr(sys, "argv", words[1:])
        arguments = recipe.parse(recipe.Arguments)
        steps = arguments.recordings // arguments.batch_recordings
        assert steps == 2 if mode else steps >= 600
        assert list(recipe.combinations(arguments))
