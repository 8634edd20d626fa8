"""Consistency: pseudo-labels, training steps, recordings that are read, and resuming."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import CROPS, TWO_SECONDS, distance, first_step

import ecgjax
from ecgjax.adapt.consistency import (
    Consistency,
    ConsistentClassification,
    PseudoLabelling,
    known_cross_entropy,
    pseudo_labels,
)
from ecgjax.adapt.parts.classifier import Classification, trained_model
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import untrained_twin
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.manifest import encoder_config

PSEUDO = PseudoLabelling(
    threshold=0.6, weak=CROPS, strong=dataclasses.replace(CROPS, noise_mv=0.02)
)
OUTPUTS = Outputs("parity", "labels", ("parity", "parity again"))
THREE = Outputs("three", "labels", ("a", "b", "c"))
OBJECTIVE = ConsistentClassification(Classification(THREE, 0.0, PSEUDO.weak), PSEUDO)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("ranked", [0, 1, 3])
def test_pseudo_labels_follow_their_definition(classes, ranked):
    probability = np.random.default_rng(classes).random((200, classes)) ** 2
    label = jax.jit(functools.partial(pseudo_labels, threshold=0.75, ranked=ranked))
    present, known = map(np.asarray, label(probability))  # loops over JAX arrays are slow
    for row, (recording, is_present, is_known) in enumerate(
        zip(probability, present, known, strict=True)
    ):
        expected = {k: 1 for k in range(classes) if recording[k] >= 0.75}
        absent = [k for k in range(classes) if recording[k] <= 0.25]
        if not expected:  # never all classes: with one condition there is no ranking
            absent += sorted(range(classes), key=lambda k: recording[k])[: min(ranked, classes - 1)]
        expected |= dict.fromkeys(absent, 0)
        assert {k: int(is_present[k]) for k in range(classes) if is_known[k]} == expected, row
        assert not is_present[is_known == 0].any()


def test_cross_entropy_equals_the_formula_and_its_gradient():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (7, 4))
    present = rng.integers(2, size=(7, 4))
    known = rng.integers(2, size=(7, 4))
    p = 1 / (1 + np.exp(-logits))
    expected = -(known * (present * np.log(p) + (1 - present) * np.log1p(-p))).sum() / 28
    value, gradient = jax.value_and_grad(known_cross_entropy)(
        jnp.asarray(logits, jnp.float32), present, known
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, known * (p - present) / 28, rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def variables():
    """Variables in the middle of a run: the teacher differs from the trained network."""
    variables = jax.jit(functools.partial(OBJECTIVE.init, TINY))(
        jax.random.key(0), jnp.zeros((2, 200, 12))
    )
    head = {
        "kernel": 0.5 * jax.random.normal(jax.random.key(1), (16, 3)),
        "bias": jnp.array([-3.0, 0.0, 1.0]),
    }
    params = {**variables["params"], "head": head}
    slow = jax.tree.map(lambda leaf: leaf * 1.1, params)
    return {**variables, "params": params, "result": {"params": slow}}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(8, 200, 12)).astype(np.int16)
    unlabelled = rng.normal(0, 500, size=(8, 3, 200, 12)).astype(np.int16)
    return {
        "signal": signal,
        "unlabelled": unlabelled,
        "targets": rng.integers(2, size=(8, 3)).astype(np.float32),
        "patient": np.arange(8, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def step(variables, batch):
    return first_step(OBJECTIVE, variables, batch)


def test_step_on_eight_devices_equals_step_on_one(variables, batch, step):
    eight = first_step(OBJECTIVE, variables, batch, devices=8)
    for name, value in step[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert distance(eight[1], step[1]) < 1e-5
    assert distance(eight[2], step[2]) < 1e-6


def test_pseudo_loss_trains_every_layer_and_the_teacher_is_an_ema(variables, batch, step):
    metrics, gradient, collections = step
    assert 0 < metrics["pseudo_present"] < metrics["pseudo_known"] < 1
    np.testing.assert_allclose(
        metrics["loss"], metrics["supervised_loss"] + metrics["pseudo_loss"], rtol=1e-6
    )
    supervised = dataclasses.replace(OBJECTIVE, pseudo=dataclasses.replace(PSEUDO, weight=0.0))
    _, supervised_gradient, _ = first_step(supervised, variables, batch)
    for (path, leaf), supervised_leaf in zip(
        jax.tree.leaves_with_path(gradient), jax.tree.leaves(supervised_gradient), strict=True
    ):
        change = np.abs(np.asarray(leaf) - np.asarray(supervised_leaf)).max()
        assert change > 1e-6, jax.tree_util.keystr(path)
    expected = jax.tree.map(
        lambda teacher, student: 0.99 * teacher + 0.01 * student,
        variables["result"]["params"],
        variables["params"],
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        collections["result"]["params"],
        expected,
    )


def _metrics_and_collections(objective, variables, batch):
    """Returns the metrics and collections of a first step, without a gradient."""
    loss = jax.jit(
        functools.partial(objective.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0))
    )
    key = jax.random.fold_in(jax.random.key(2), 0)
    return loss(variables, {**batch, "progress": jnp.float32(0)}, key)[1]


def test_pseudo_labels_come_from_the_teacher(variables, batch, step):
    """A teacher with zero weights is certain of nothing; with momentum 0 there is no teacher."""
    params = jax.tree.map(jnp.zeros_like, variables["result"]["params"])
    zero_teacher = {**variables, "result": {"params": params}}
    slow = dataclasses.replace(PSEUDO, momentum=0.9999, ranked=0)
    objective = dataclasses.replace(OBJECTIVE, pseudo=slow)
    metrics, _ = _metrics_and_collections(objective, zero_teacher, batch)
    assert metrics["pseudo_known"] == 0
    no_teacher = dataclasses.replace(PSEUDO, momentum=0.0)
    objective = dataclasses.replace(OBJECTIVE, pseudo=no_teacher)
    student = {name: variables[name] for name in ("params", "batch_stats")}
    metrics, collections = _metrics_and_collections(objective, student, batch)
    assert set(collections) == {"batch_stats"} and metrics["pseudo_known"] > 0
    assert metrics["pseudo_loss"] != step[0]["pseudo_loss"]


SHORT = Consistency(
    epochs=0,
    min_steps=4,
    save_every=2,
    batch_size=8,
    unlabelled=2,
    pseudo=PseudoLabelling(weak=CROPS, strong=CROPS),
)


@pytest.fixture(scope="module")
def encoder(workdir):
    return ecgjax.load(workdir)


def _adapt(encoder, records, workdir, count=12, **changes):
    indices = records.split("train")[:count]
    parity = (records.patients[indices] % 2).astype(np.float32)
    targets = np.stack([parity, parity], axis=1)
    config = {
        **encoder_config("compact_resnet", encoder.module, encoder.preprocessing),
        "task": "parity",
    }
    settings = dataclasses.replace(SHORT, **changes)
    return settings.adapt(
        encoder, Labelled(records, indices, targets, OUTPUTS), Run(workdir, config, "parity")
    )


def _manifest(workdir) -> dict:
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


@pytest.fixture(scope="module")
def run(encoder, records, tmp_path_factory):
    """A run of four steps: its result and its workdir."""
    workdir = tmp_path_factory.mktemp("adapted")
    return _adapt(encoder, records, workdir), workdir


def test_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(encoder, records, run, tmp_path):
    adapted, workdir = run
    copy = shutil.copytree(workdir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints/4")
    _adapt(encoder, records, copy)
    assert _manifest(copy) == _manifest(workdir)
    test = records.split("test")
    labelled = Labelled(records, test, np.zeros((len(test), 2), np.float32), OUTPUTS)
    model = trained_model(adapted, encoder, labelled, encoder.config)
    probabilities = model.predict_records(records, test, batch_size=16)
    assert probabilities.shape == (len(test), 2)
    assert (probabilities > 0).all() and (probabilities < 1).all()


@pytest.mark.parametrize("restored", [True, False], ids=["checkpoint", "scratch"])
def test_only_the_training_split_is_read_and_training_starts_from_the_encoder(
    encoder, records, tmp_path, monkeypatch, restored
):
    start = encoder if restored else untrained_twin(encoder, seed=5)
    batches = []
    original_read = records.read

    def read(indices):
        batches.append(np.asarray(indices))
        return original_read(indices)

    monkeypatch.setattr(records, "read", read)
    frozen = dataclasses.replace(SHORT.optimizer, learning_rate=1e-12)
    adapted = _adapt(start, records, tmp_path, min_steps=12, save_every=12, optimizer=frozen)
    train = records.split("train")
    labelled = [indices for indices in batches if indices.ndim == 1]
    unlabelled = [indices for indices in batches if indices.ndim == 2]
    assert {indices.shape for indices in labelled} == {(8,)}
    assert {indices.shape for indices in unlabelled} == {(8, 2)}
    assert set(np.concatenate(labelled)) == set(train[:12])
    assert set(np.concatenate(unlabelled).ravel()) == set(train[12:])
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)  # the EMA rounds
    jax.tree.map(close, adapted.variables["params"]["encoder"], start.variables["params"])


def test_checkpoint_holds_the_resulting_network_and_all_that_it_has_seen(records, run):
    adapted, workdir = run
    loaded = ecgjax.load(workdir)
    for name in ("params", "batch_stats"):
        jax.tree.map(
            np.testing.assert_array_equal,
            loaded.variables[name],
            adapted.variables[name]["encoder"],
        )
    # Recordings without a label count, too.
    assert len(loaded.seen.waveforms) == len(records.split("train"))


@pytest.mark.parametrize("momentum", [0.5, 0.0])
def test_result_is_the_teacher_if_there_is_one(encoder, records, tmp_path, monkeypatch, momentum):
    original_train = Consistency.train
    trained = {}

    def train(*args, **kwargs):
        trained.update(original_train(*args, **kwargs))
        return trained

    monkeypatch.setattr(Consistency, "train", train)
    pseudo = dataclasses.replace(SHORT.pseudo, momentum=momentum)
    adapted = _adapt(encoder, records, tmp_path, pseudo=pseudo)
    expected = trained["result"]["params"] if momentum else trained["params"]
    jax.tree.map(np.testing.assert_array_equal, adapted.variables["params"], expected)
    jax.tree.map(
        np.testing.assert_array_equal, adapted.variables["batch_stats"], trained["batch_stats"]
    )


def test_impossible_settings_are_refused(encoder, records, tmp_path):
    with pytest.raises(InputError, match="no recording is left without a label; give --labels"):
        _adapt(encoder, records, tmp_path, count=len(records.split("train")))
    with pytest.raises(InputError, match="--unlabelled 0: give 1 or more, or --method finetune"):
        Consistency(unlabelled=0)
    for wrong in (
        {"threshold": 0.5},
        {"threshold": 1.1},
        {"ranked": -1},
        {"weight": -1.0},
        {"momentum": 1.0},
    ):
        with pytest.raises(
            InputError, match="give a threshold above 0.5 and at most 1, a momentum from 0 to"
        ):
            PseudoLabelling(**wrong)
