"""Pseudo-labels against their definition, and the whole way: its steps, its data, its start and how it resumes."""

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
from ecgjax.adapt.parts.classifier import Classification, predict
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessor
from ecgjax.pretrained import untrained_twin
from ecgjax.train.checkpoint import describe, find_checkpoint

PSEUDO = PseudoLabelling(
    threshold=0.6, weak=CROPS, strong=dataclasses.replace(CROPS, noise_mv=0.02)
)
WAY = ConsistentClassification(Classification(3, 0.0, PSEUDO.weak), PSEUDO)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("ranked", [0, 1, 3])
def test_pseudo_labels_by_their_definition(classes, ranked):
    probability = np.random.default_rng(classes).random((200, classes)) ** 2
    label = jax.jit(functools.partial(pseudo_labels, threshold=0.75, ranked=ranked))
    present, known = map(np.asarray, label(probability))  # arrays of JAX are slow to go through
    for row, (recording, found, counts) in enumerate(zip(probability, present, known, strict=True)):
        expected = {k: 1 for k in range(classes) if recording[k] >= 0.75}
        absent = [k for k in range(classes) if recording[k] <= 0.25]
        if not expected:  # never all classes: a task of one condition has none to rank
            absent += sorted(range(classes), key=lambda k: recording[k])[: min(ranked, classes - 1)]
        expected |= dict.fromkeys(absent, 0)
        assert {k: int(found[k]) for k in range(classes) if counts[k]} == expected, row
        assert not found[counts == 0].any()


def test_cross_entropy_equals_the_formula_and_its_gradient():
    rng = np.random.default_rng(0)
    logits, present, known = (
        rng.normal(0, 3, (7, 4)),
        rng.integers(2, size=(7, 4)),
        rng.integers(2, size=(7, 4)),
    )
    p = 1 / (1 + np.exp(-logits))
    expected = -(known * (present * np.log(p) + (1 - present) * np.log1p(-p))).sum() / 28
    value, gradient = jax.value_and_grad(known_cross_entropy)(
        jnp.asarray(logits, jnp.float32), present, known
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, known * (p - present) / 28, rtol=1e-4, atol=1e-7)


@pytest.fixture(scope="module")
def variables():
    """After a while: the network that makes pseudo-labels is another one."""
    variables = jax.jit(functools.partial(WAY.init, TINY))(
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
    signal, unlabelled = (
        rng.normal(0, 500, size=size).astype(np.int16) for size in ((8, 200, 12), (8, 3, 200, 12))
    )
    return {
        "signal": signal,
        "unlabelled": unlabelled,
        "targets": rng.integers(2, size=(8, 3)).astype(np.float32),
        "patient": np.arange(8, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def step(variables, batch):
    return first_step(WAY, variables, batch)


def test_eight_devices_are_one(variables, batch, step):
    eight = first_step(WAY, variables, batch, devices=8)
    for name, value in step[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert distance(eight[1], step[1]) < 1e-5
    assert distance(eight[2], step[2]) < 1e-6


def test_strong_views_teach_every_layer_and_the_slow_network_follows(variables, batch, step):
    metrics, gradient, collections = step
    assert 0 < metrics["pseudo_present"] < metrics["pseudo_known"] < 1
    np.testing.assert_allclose(
        metrics["loss"], metrics["supervised_loss"] + metrics["pseudo_loss"], rtol=1e-6
    )
    without = dataclasses.replace(WAY, pseudo=dataclasses.replace(PSEUDO, weight=0.0))
    _, alone, _ = first_step(without, variables, batch)
    for (path, leaf), own in zip(
        jax.tree.leaves_with_path(gradient), jax.tree.leaves(alone), strict=True
    ):
        assert np.abs(np.asarray(leaf) - np.asarray(own)).max() > 1e-6, jax.tree_util.keystr(path)
    expected = jax.tree.map(
        lambda slow, own: 0.99 * slow + 0.01 * own,
        variables["result"]["params"],
        variables["params"],
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        collections["result"]["params"],
        expected,
    )


def _evaluate(way, variables, batch):
    """Metrics and collections of a first step, whose gradient nobody asks for."""
    loss = jax.jit(functools.partial(way.loss, TINY, preprocess=Preprocessor(TWO_SECONDS, 100.0)))
    key = jax.random.fold_in(jax.random.key(2), 0)
    return loss(variables, {**batch, "progress": jnp.float32(0)}, key)[1]


def test_pseudo_labels_come_from_the_slow_network(variables, batch, step):
    """Silenced, it is unsure of everything; with momentum 0 the network itself answers."""
    silent = {
        **variables,
        "result": {"params": jax.tree.map(jnp.zeros_like, variables["result"]["params"])},
    }
    still = dataclasses.replace(PSEUDO, momentum=0.9999, ranked=0)
    assert _evaluate(dataclasses.replace(WAY, pseudo=still), silent, batch)[0]["pseudo_known"] == 0
    itself = dataclasses.replace(WAY, pseudo=dataclasses.replace(PSEUDO, momentum=0.0))
    own = {name: variables[name] for name in ("params", "batch_stats")}
    metrics, collections = _evaluate(itself, own, batch)
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
    targets = (records.patients[indices] % 2).astype(np.float32)[:, None] + np.zeros(
        (1, 2), np.float32
    )
    config = {**describe("compact_resnet", encoder.module, encoder.preprocessing), "task": "parity"}
    settings = dataclasses.replace(SHORT, **changes)
    return settings.adapt(
        encoder, Labelled(records, indices, targets), Run(workdir, config, "parity")
    )


def _manifest(workdir) -> dict:
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def test_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(encoder, records, tmp_path):
    adapted = _adapt(encoder, records, tmp_path)
    whole = _manifest(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/4")
    _adapt(encoder, records, tmp_path)
    assert _manifest(tmp_path) == whole
    test = records.split("test")
    found = predict(adapted, encoder, records, test, batch_size=16)
    assert found.shape == (len(test), 2) and (found > 0).all() and (found < 1).all()


@pytest.mark.parametrize("restored", [True, False], ids=["checkpoint", "scratch"])
def test_it_reads_the_training_split_and_starts_where_it_was_told_to(
    encoder, records, tmp_path, monkeypatch, restored
):
    start, read = encoder if restored else untrained_twin(encoder, seed=5), []
    plain = records.read
    monkeypatch.setattr(
        records, "read", lambda indices: read.append(np.asarray(indices)) or plain(indices)
    )
    frozen = dataclasses.replace(SHORT.optimizer, learning_rate=1e-12)
    adapted = _adapt(start, records, tmp_path, min_steps=12, save_every=12, optimizer=frozen)
    train = records.split("train")
    labelled = [chosen for chosen in read if chosen.ndim == 1]
    unlabelled = [chosen for chosen in read if chosen.ndim == 2]
    assert {chosen.shape for chosen in labelled} == {(8,)} and {
        chosen.shape for chosen in unlabelled
    } == {(8, 2)}
    assert set(np.concatenate(labelled)) == set(train[:12])
    assert set(np.concatenate(unlabelled).ravel()) == set(train[12:])
    close = functools.partial(np.testing.assert_allclose, atol=1e-8)
    jax.tree.map(close, adapted.variables["params"]["encoder"], start.variables["params"])


def test_the_checkpoint_holds_the_network_that_is_kept(encoder, records, tmp_path):
    adapted = _adapt(encoder, records, tmp_path)
    kept = ecgjax.load(tmp_path).variables
    jax.tree.map(
        np.testing.assert_array_equal, kept["params"], adapted.variables["params"]["encoder"]
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        kept["batch_stats"],
        adapted.variables["batch_stats"]["encoder"],
    )


def test_the_slow_network_is_what_is_kept(encoder, records, tmp_path, monkeypatch):
    plain, trained = Consistency.train, {}
    monkeypatch.setattr(
        Consistency, "train", lambda *args, **how: trained.update(plain(*args, **how)) or trained
    )
    for momentum, kept in (
        (0.5, lambda: trained["result"]["params"]),
        (0.0, lambda: trained["params"]),
    ):
        trained.clear()
        pseudo = dataclasses.replace(SHORT.pseudo, momentum=momentum)
        adapted = _adapt(encoder, records, tmp_path / str(momentum), pseudo=pseudo)
        jax.tree.map(np.testing.assert_array_equal, adapted.variables["params"], kept())
        jax.tree.map(
            np.testing.assert_array_equal, adapted.variables["batch_stats"], trained["batch_stats"]
        )


def test_checkpoint_has_seen_the_recordings_without_labels_too(encoder, records, tmp_path):
    _adapt(encoder, records, tmp_path)
    assert len(ecgjax.load(tmp_path).seen.waveforms) == len(records.split("train"))


def test_what_cannot_be_is_refused(encoder, records, tmp_path):
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
            InputError, match="give a threshold above 0.5 to 1, a momentum from 0 to below 1"
        ):
            PseudoLabelling(**wrong)
