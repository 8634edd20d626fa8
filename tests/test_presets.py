"""Presets: each parses, options override it, and its encoder and objective fit its input."""

import dataclasses
import sys

import jax
import pytest

from ecgjax.errors import InputError
from ecgjax.launch.command import parse, pretraining_defaults
from ecgjax.launch.compile import Arguments as CompileArguments
from ecgjax.launch.pretrain import Arguments
from ecgjax.objectives import OBJECTIVES
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining, initial_variables


def _parsed(monkeypatch, *options: str) -> Arguments:
    monkeypatch.setattr(sys, "argv", ["pretrain", *options])
    return parse(Arguments, default=Arguments(**pretraining_defaults()))


@pytest.mark.parametrize("name", PRESETS)
def test_options_override_a_preset_and_leave_the_rest(name, monkeypatch):
    assert _parsed(monkeypatch, "--preset", name).settings == PRESETS[name]
    expected = PRESETS[name]
    options = ["--preset", name, "--batch-size", "48", "--optimizer.learning-rate", "0.5"]
    objective = expected.objective
    if hasattr(objective, "microbatch"):  # a setting of the objective itself
        options += ["--microbatch", "3"]
        objective = dataclasses.replace(objective, microbatch=3)
    assert _parsed(monkeypatch, *options).settings == dataclasses.replace(
        expected,
        batch_size=48,
        optimizer=dataclasses.replace(expected.optimizer, learning_rate=0.5),
        objective=objective,
    )


def test_another_objective_keeps_the_rest_of_a_preset(monkeypatch):
    options = ["--objective", "byol", "--preset=mehari_simclr", "--momentum", "0.9"]
    arguments = _parsed(monkeypatch, *options)
    assert arguments.objective == "byol" and arguments.preset == "mehari_simclr"
    preset = PRESETS["mehari_simclr"]
    assert arguments.settings == dataclasses.replace(preset, objective=Byol(momentum=0.9))


def test_an_option_changes_one_setting_of_the_presets_objective(monkeypatch):
    arguments = _parsed(monkeypatch, "--preset", "clocs_cmsc", "--kind", "cmlc")
    assert arguments.settings.objective == Clocs(kind="cmlc", lead_mask=0.0)


def test_without_a_preset_nothing_changes(monkeypatch):
    assert _parsed(monkeypatch).settings == Pretraining()
    for name, kind in OBJECTIVES.items():
        assert _parsed(monkeypatch, "--objective", name).settings == Pretraining(objective=kind())


def test_unknown_preset_is_refused_in_one_line(monkeypatch):
    with pytest.raises(InputError, match="--preset"):
        _parsed(monkeypatch, "--preset", "liu_2052")


def test_compile_takes_presets_too(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compile", "--preset", "mehari_cpc"])
    defaults = CompileArguments(topology="v5e:2x4", **pretraining_defaults())
    arguments = parse(CompileArguments, default=defaults)
    assert arguments.settings == PRESETS["mehari_cpc"]


@pytest.mark.parametrize("name", PRESETS)
def test_encoder_and_objective_fit_the_input(name):
    variables = jax.eval_shape(lambda: initial_variables(PRESETS[name], jax.random.key(0)))
    assert "encoder" in variables["params"]
