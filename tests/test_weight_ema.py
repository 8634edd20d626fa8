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
from ecgjax.objectives.parts import ema
from ecgjax.objectives.parts.ema import WeightEma
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import load_encoder
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.runlog import read_metrics
from ecgjax.workflows.pretrain import Pretraining, pretrain


@pytest.mark.parametrize(("steps", "decay"), [(1000, 0.9), (40, 0.5)])  # 0.9 at most, 0.5 at most
def test_the_result_is_the_average_and_the_loss_that_of_the_objective(steps, decay):
    objective = WeightEma(SETTINGS.objective, 0.9)
    variables = init_variables(objective, TINY, FOUR_LEADS)
    first = variables["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, variables["result"]["params"]["encoder"], first)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])
    batch = jax.tree.map(jnp.asarray, noise_batch(4, views=(2,), patients=4))
    batch |= {"progress": jnp.float32(0.5), "num_steps": steps}

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
    expected = jax.tree.map(lambda leaf: leaf + (1 - decay), first)
    check = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(check, result, expected)


def test_a_run_saves_the_average_trains_alike_and_resumes(
    workdir, mixture, tmp_path, tiny_encoders, monkeypatch
):
    monkeypatch.setattr(ema, "MEMORY", 1.0)  # a run of four steps is short
    settings = dataclasses.replace(SETTINGS, ema_decay=0.5)
    run = functools.partial(pretrain, settings, mixture, save_every=2, log_every=1)
    path = run(tmp_path / "whole")
    plain, averaged = (
        [line["loss"] for line in read_metrics(each)] for each in (workdir, tmp_path / "whole")
    )
    np.testing.assert_allclose(averaged, plain, rtol=1e-5)
    encoder, other = load_encoder(path), load_encoder(find_checkpoint(workdir))
    assert encoder.fingerprint != other.fingerprint
    copy = shutil.copytree(tmp_path / "whole", tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/4")
    assert load_encoder(run(copy)).fingerprint == encoder.fingerprint


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="--ema-decay 1.0: give 0, or a decay below 1"):
        Pretraining(ema_decay=1.0)
    with pytest.raises(InputError, match="--ema-decay 0.9: Jepa has an EMA of its own; give 0"):
        jax.eval_shape(functools.partial(init_variables, WeightEma(Jepa(), 0.9), TINY, FOUR_LEADS))
