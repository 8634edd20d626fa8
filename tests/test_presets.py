"""Presets: each parses, is what its entry says, and gives way to options; each runs as far as shapes go."""

import dataclasses
import sys

import jax
import pytest

from ecgjax.errors import InputError
from ecgjax.launch.command import chosen_pretraining, parse
from ecgjax.launch.compile import Arguments as CompileArguments
from ecgjax.launch.pretrain import Arguments
from ecgjax.objectives import OBJECTIVES
from ecgjax.objectives.byol import Byol
from ecgjax.objectives.clocs import Clocs
from ecgjax.workflows.presets import PRESETS
from ecgjax.workflows.pretrain import Pretraining, initial_variables


def _parsed(monkeypatch, *options: str) -> Arguments:
    monkeypatch.setattr(sys, "argv", ["pretrain", *options])
    return parse(Arguments, default=Arguments(**chosen_pretraining()))


@pytest.mark.parametrize("name", PRESETS)
def test_options_override_a_preset_and_nothing_else_does(name, monkeypatch):
    assert _parsed(monkeypatch, "--preset", name).settings == PRESETS[name]
    expected = PRESETS[name]
    options = ["--preset", name, "--batch-size", "48", "--optimizer.learning-rate", "0.5"]
    # A setting of the method itself.
    own = {"microbatch": 3} if hasattr(expected.objective, "microbatch") else {}
    options += [word for key, value in own.items() for word in (f"--{key}", str(value))]
    found = _parsed(monkeypatch, *options).settings
    assert found == dataclasses.replace(
        expected,
        batch_size=48,
        optimizer=dataclasses.replace(expected.optimizer, learning_rate=0.5),
        objective=dataclasses.replace(expected.objective, **own),
    )


def test_another_objective_keeps_the_rest_of_a_preset(monkeypatch):
    found = _parsed(
        monkeypatch, "--objective", "byol", "--preset=mehari_simclr", "--momentum", "0.9"
    )
    assert found.objective == "byol" and found.preset == "mehari_simclr"
    assert found.settings == dataclasses.replace(
        PRESETS["mehari_simclr"], objective=Byol(momentum=0.9)
    )
    assert _parsed(
        monkeypatch, "--preset", "clocs_cmsc", "--kind", "cmlc"
    ).settings.objective == Clocs(kind="cmlc", lead_mask=0.0)


def test_without_a_preset_nothing_changes(monkeypatch):
    assert _parsed(monkeypatch).settings == Pretraining()
    for name, kind in OBJECTIVES.items():
        assert _parsed(monkeypatch, "--objective", name).settings == Pretraining(objective=kind())


def test_unknown_preset_is_refused_in_one_line(monkeypatch):
    with pytest.raises(InputError, match="--preset"):
        _parsed(monkeypatch, "--preset", "liu_2052")


def test_compile_takes_presets_too(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compile", "--preset", "mehari_cpc"])
    found = parse(
        CompileArguments, default=CompileArguments(topology="v5e:2x4", **chosen_pretraining())
    )
    assert found.settings == PRESETS["mehari_cpc"]


@pytest.mark.parametrize("name", PRESETS)
def test_encoder_and_objective_fit_the_input(name):
    variables = jax.eval_shape(lambda: initial_variables(PRESETS[name], jax.random.key(0)))
    assert "encoder" in variables["params"]
