"""Continued pre-training: a run starts from another run's encoder and from all that it has seen."""

import dataclasses
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SETTINGS, TINY

from ecgjax.data.seen import Seen
from ecgjax.errors import InputError
from ecgjax.launch.pretrain import Arguments, _defaults
from ecgjax.objectives import OBJECTIVES
from ecgjax.pretrained import load_encoder
from ecgjax.train.checkpoint import read_config
from ecgjax.train.model import SavedModel, save_model
from ecgjax.train.origin import ancestors, unknown_past
from ecgjax.workflows import pretrain as pretraining
from ecgjax.workflows.cohort import data_names
from ecgjax.workflows.pretrain import initial_variables, pretrain
from ecgjax.workflows.start_weights import find_start, with_encoder

pytestmark = pytest.mark.usefixtures("tiny_encoders")


@pytest.fixture(scope="module")
def source(workdir, tmp_path_factory):
    """A model folder that has seen recordings of a data set elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pretraining.ENCODERS, "compact_resnet", TINY)
        encoder = load_encoder(workdir)
    elsewhere = Seen(np.array([5, 7], np.uint64), np.array([9], np.uint64))
    config = {**encoder.config, "data": "elsewhere/500hz:1.0.0"}
    folder = tmp_path_factory.mktemp("source") / "model"
    parts = (encoder.module, encoder.variables, encoder.preprocessing, config, elsewhere)
    save_model(folder, SavedModel(*parts))
    return folder


@pytest.fixture
def settings(source):
    return dataclasses.replace(SETTINGS, init=str(source), num_steps=2, seed=3)


def _start(settings, workdir):
    return find_start(settings.init, workdir, settings.encoder, settings.preprocessing)


@pytest.mark.parametrize("name", ["patient_contrast", "byol", "jepa"])
def test_every_copy_of_the_encoder_is_replaced(name, settings, tmp_path):
    start = _start(settings, tmp_path)
    objective = OBJECTIVES[name]()
    signal = jnp.zeros((2, 1000, 12))
    variables = jax.eval_shape(lambda key: objective.init(TINY, key, signal), jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    replaced = with_encoder(zeros, start.variables)
    copies = 0
    for path, leaf in jax.tree.leaves_with_path(replaced):
        keys = [key.key for key in path]
        if "encoder" not in keys:
            assert not leaf.any()
            continue
        copies += 1
        kind = "batch_stats" if "batch_stats" in keys else "params"
        expected = start.variables[kind]
        for key in keys[keys.index("encoder") + 1 :]:
            expected = expected[key]
        np.testing.assert_array_equal(leaf, expected)
    own = len(jax.tree.leaves(start.variables))
    params = len(jax.tree.leaves(start.variables["params"]))
    assert copies == own + (params if name != "patient_contrast" else 0)


def test_the_first_variables_equal_those_made_by_hand(settings, source, tmp_path):
    start = _start(settings, tmp_path)
    key = jax.random.key(1)
    encoder = load_encoder(source)
    expected = initial_variables(settings, key)
    expected["params"]["encoder"] = encoder.variables["params"]
    expected["batch_stats"]["encoder"] = encoder.variables["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, initial_variables(settings, key, start), expected)


def test_a_run_remembers_its_start_and_resumes_without_it(settings, mixture, tmp_path, source):
    run = tmp_path / "run"
    trained = load_encoder(pretrain(settings, mixture, run, save_every=1, log_every=1))
    assert trained.fingerprint != load_encoder(source).fingerprint
    own = mixture.seen("train")
    assert np.array_equal(trained.seen.waveforms, np.union1d(own.waveforms, [5, 7]))
    assert np.array_equal(trained.seen.patients, np.union1d(own.patients, [9]))
    assert trained.config["init"]["weights"] == load_encoder(source).fingerprint
    names = (mixture.name, "elsewhere/500hz:1.0.0")
    assert tuple(entry["data"] for entry in ancestors(trained.config)) == names
    assert data_names(trained.config) == names
    shutil.rmtree(run / "checkpoints" / "2")
    gone = dataclasses.replace(settings, init=str(tmp_path / "moved"))
    resumed = load_encoder(pretrain(gone, mixture, run, save_every=1, log_every=1))
    assert resumed.fingerprint == trained.fingerprint
    assert np.array_equal(resumed.seen.waveforms, trained.seen.waveforms)
    other = dataclasses.replace(settings, init=str(run))
    with pytest.raises(InputError, match="the run began with the weights .*; give another --work"):
        pretrain(other, mixture, run, save_every=1, log_every=1)
    none = dataclasses.replace(settings, init=None)
    with pytest.raises(InputError, match="init.data was elsewhere.*, now None"):
        pretrain(none, mixture, run, save_every=1, log_every=1)


def test_another_encoder_or_preprocessing_is_refused_by_name(settings, mixture, tmp_path):
    preprocessing = dataclasses.replace(settings.preprocessing, rate_hz=250.0)
    given = dataclasses.replace(settings, encoder="s4", preprocessing=preprocessing)
    message = "has encoder compact_resnet, not s4; preprocessing.rate_hz 100.0, not 250.0; leave"
    with pytest.raises(InputError, match=message):
        pretrain(given, mixture, tmp_path, save_every=1, log_every=1)
    with pytest.raises(InputError, match="no such folder"):
        _start(dataclasses.replace(settings, init=str(tmp_path / "none")), tmp_path)


def test_the_options_default_to_those_of_the_checkpoint(source, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pretrain", "--data", "x", "--init", str(source)])
    settings = Arguments(**_defaults()).settings
    assert settings.preprocessing == load_encoder(source).preprocessing


def test_the_warning_on_published_weights_survives_continued_training():
    published = {"title": "PCLR", "trained_on": "ECGs of MGH"}
    assert "weights PCLR" in unknown_past({"data": "a", "init": {"published": published}})
    assert not unknown_past({"data": "a", "init": {"data": "b"}})


def test_the_config_of_a_run_without_init_is_that_of_earlier_versions(workdir):
    config = read_config(workdir / "checkpoints" / "4")
    assert "init" not in config and "init" not in config["pretraining"]
