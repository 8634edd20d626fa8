"""EMA of the encoder's weights as the result of a run: its values, and what it leaves unchanged."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SETTINGS, TINY
from helpers.steps import FOUR_LEADS, init_variables, noise_batch

from ecgjax.errors import InputError
from ecgjax.objectives.jepa import Jepa
from ecgjax.objectives.parts.ema import WeightEma
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import load_encoder
from ecgjax.train.checkpoint import read_part
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows import pretrain as pretrain_module
from ecgjax.workflows.pretrain import Pretraining, pretrain


def test_the_result_is_the_average_and_the_loss_that_of_the_objective():
    objective = WeightEma(SETTINGS.objective, 0.9)
    variables = init_variables(objective, TINY, FOUR_LEADS)
    first = variables["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, variables["result"]["params"]["encoder"], first)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])
    batch = jax.tree.map(jnp.asarray, noise_batch(4, views=(2,), patients=4))

    def loss(objective, variables):
        preprocess = Preprocessor(FOUR_LEADS, 100.0)
        return objective.loss(TINY, variables, batch, jax.random.key(0), preprocess=preprocess)

    variables = {**variables, "params": moved}
    value, (metrics, updates) = jax.jit(functools.partial(loss, objective))(variables)
    own = {name: part for name, part in variables.items() if name != "result"}
    alone, (alone_metrics, alone_updates) = jax.jit(functools.partial(loss, SETTINGS.objective))(
        own
    )
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    assert metrics.keys() == alone_metrics.keys()
    result = updates.pop("result")["params"]["encoder"]
    assert updates.keys() == alone_updates.keys()
    expected = jax.tree.map(lambda leaf: leaf + 0.1, first)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), result, expected)


def test_a_run_saves_the_average_trains_alike_and_resumes(
    workdir, mixture, tmp_path, tiny_encoders, monkeypatch
):
    """The average after a step holds the weights before its update: the last ones are not in it."""
    monkeypatch.setattr(pretrain_module, "EMA_SHARE", 1.0)  # a run of two steps is short
    settings = dataclasses.replace(SETTINGS, num_steps=2, ema_decay=0.5)
    run = functools.partial(pretrain, settings, mixture, save_every=1, log_every=1)
    second = run(tmp_path / "whole")
    first = second.parent / "1"
    initial = load_encoder(first).variables["params"]
    trained = read_part(first, "train")["variables"]["result"]["params"]["encoder"]
    jax.tree.map(_check_average, load_encoder(second).variables["params"], initial, trained)
    loss = read_metrics(tmp_path / "whole")[0]["loss"]
    assert loss == pytest.approx(read_metrics(workdir)[0]["loss"], rel=1e-5)
    copy = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/2")
    assert load_encoder(run(copy)).fingerprint == load_encoder(second).fingerprint


def _check_average(average, initial, trained):
    assert np.any(initial != trained)
    np.testing.assert_allclose(average, (initial + trained) / 2, atol=1e-6)


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="--ema-decay 1.0: give 0, or a decay below 1"):
        Pretraining(ema_decay=1.0)
    with pytest.raises(InputError, match="0.9999: with 2200 steps give 0.9909 at most"):
        Pretraining(ema_decay=0.9999)
    assert Pretraining(ema_decay=0.9909).ema_decay == 0.9909
    with pytest.raises(InputError, match="--ema-decay 0.9: Jepa has an EMA of its own; give 0"):
        jax.eval_shape(functools.partial(init_variables, WeightEma(Jepa(), 0.9), TINY, FOUR_LEADS))
