"""Fine-tuning in two stages: a head fitted to the frozen encoder, then layer-wise rates."""

import dataclasses
import shutil
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import CROPS

import ecgjax
from ecgjax.adapt import linear_probe
from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.parts.classifier import Classification, trained_model
from ecgjax.adapt.parts.layer_rates import layer_paths, layer_rates, scale_layers
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.train.manifest import encoder_config

# With 20 labelled recordings and 8 devices a batch has 16 of them. Views are whole recordings.
SHORT = FineTuning(
    epochs=0,
    min_steps=4,
    batch_size=16,
    save_every=2,
    lowest_rate=0.25,
    augmentation=dataclasses.replace(CROPS, crop_s=10.0, lead_mask=0),
)
TARGETS = np.random.default_rng(0).integers(2, size=(20, 2)).astype(np.float32)
KINDS = {
    "labels": TARGETS,
    "classes": np.concatenate([TARGETS[:, :1], 1 - TARGETS[:, :1]], axis=1),
    "numbers": 50 + 20 * np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32),
}


@pytest.fixture(scope="module")
def encoder(workdir):
    return ecgjax.load(workdir)


def _labelled(records, kind="labels"):
    outputs = Outputs("x", kind, ("a", "b")).fitted(KINDS[kind])
    return Labelled(records, records.split("train")[:20], KINDS[kind], outputs)


def _config(encoder):
    return encoder_config("compact_resnet", encoder.module, encoder.preprocessing)


def _train(settings, encoder, records, workdir):
    run = Run(workdir, _config(encoder), "run")
    return settings.adapt(encoder, _labelled(records), run).variables


@pytest.mark.parametrize("kind", KINDS)
def test_training_begins_with_the_predictions_of_the_frozen_probe(encoder, records, kind):
    labelled = _labelled(records, kind)
    objective = Classification(labelled.outputs, 0.5, SHORT.augmentation, fixed_norm=True)
    variables = objective.begin(encoder, jax.random.key(0))
    adapted = SHORT.adapted(SHORT.with_fitted_head(encoder, labelled, variables))
    tested = records.split("test")
    model = trained_model(adapted, encoder, labelled, _config(encoder))
    whole = dataclasses.replace(encoder.preprocessing, window_s=10.0)
    frozen = dataclasses.replace(encoder, preprocessing=whole)
    probe = linear_probe.fit(
        frozen.embed_records(records, labelled.indices),
        np.asarray(labelled.outputs.standardise(KINDS[kind])),
        records.patients[labelled.indices],
        seed=0,
        kind=kind,
    )
    scores = probe.scores(frozen.embed_records(records, tested))
    expected = np.asarray(labelled.outputs.activate(jnp.asarray(scores)))
    np.testing.assert_allclose(model.predict_records(records, tested), expected, rtol=2e-4)
    assert np.ptp(expected) > 1e-3


def test_standardisation_of_the_fitted_head_stays_and_all_weights_learn(encoder, records, tmp_path):
    """A run that stopped halfway ends with the same bits."""
    whole = _train(SHORT, encoder, records, tmp_path / "whole")
    embeddings = dataclasses.replace(
        encoder, preprocessing=dataclasses.replace(encoder.preprocessing, window_s=10.0)
    ).embed_records(records, records.split("train")[:20])
    mean = whole["batch_stats"]["norm"]["mean"]
    np.testing.assert_allclose(mean, embeddings.mean(axis=0), rtol=1e-4, atol=1e-6)
    changed = jax.tree.map(
        lambda a, b: np.any(a != b), encoder.variables["params"], whole["params"]["encoder"]
    )
    assert all(jax.tree.leaves(changed))
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "4")
    resumed = _train(SHORT, encoder, records, tmp_path / "half")
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_random_encoder_has_neither_a_fitted_head_nor_slow_layers(encoder, records, monkeypatch):
    random = dataclasses.replace(encoder, restored=0)
    assert (SHORT.first_rate(encoder), SHORT.first_rate(random)) == (0.25, 1.0)
    trained = []

    def train(settings, objective, *_, begin=None):
        trained.append((settings, objective.fixed_norm, begin.func.__name__))
        return {}

    monkeypatch.setattr(FineTuning, "train", train)
    for settings in (SHORT, dataclasses.replace(SHORT, head_first=False)):
        for start in (encoder, random):
            settings.adapt(start, _labelled(records), Run(Path(), {}, "run"))
    new = (False, "with_start_bias")
    assert [each[1:] for each in trained] == [(True, "with_fitted_head"), new, new, new]
    rates = [settings.optimizer.learning_rate for settings, _, _ in trained]
    assert rates == pytest.approx([1e-4, 2e-3, 2e-3, 2e-3])


def test_second_stage_is_slow_with_few_labels():
    """The default. A given rate holds for any number of labels."""
    numbers = (1, 999, 1000)
    stages = [FineTuning().second_stage(number) for number in numbers]
    assert [each.optimizer.learning_rate for each in stages] == pytest.approx([1e-4, 1e-4, 2e-3])
    given = [FineTuning(fitted_rate=0.5).second_stage(number) for number in numbers]
    assert {each.optimizer.learning_rate for each in given} == {1e-3}
    with pytest.raises(InputError, match="fitted_rate 0: give a factor above 0"):
        FineTuning(fitted_rate=0)


def test_learning_rates_for_all_recordings_hold_for_their_parts(encoder):
    """A fold of 1,000 recordings has fewer, and is trained as all of them will be."""
    for number, rates in ((999, (0.1, 0.05)), (1000, (1.0, 1.0))):
        settings = FineTuning().with_rates_for(number)
        assert (settings.encoder_rate, settings.fitted_rate) == rates
        assert settings.rate(encoder, 600) == rates[0]
        stage = settings.second_stage(600)
        assert stage.optimizer.learning_rate == pytest.approx(2e-3 * rates[1])
    given = FineTuning(encoder_rate=0.3, fitted_rate=0.2)
    assert given.with_rates_for(10) == given


def test_layers_are_in_the_order_of_their_calls():
    signal = jax.ShapeDtypeStruct((2, 64, 12), jnp.float32)
    paths = layer_paths(CompactResnet(widths=(4, 4)), signal)
    block = [(name,) for name in ("shortcut", "shortcut_norm", "conv1", "norm1", "conv2", "norm2")]
    expected = [("stem",), ("stem_norm",)]
    expected += [("block1", *name) for name in block] + [("block2", *name) for name in block]
    assert paths == expected


class _Stack(nn.Module):
    """Three layers whose names are not in the order of the alphabet."""

    @nn.compact
    def __call__(self, signal, *, train):
        for name in ("zeta", "alpha", "mid"):
            signal = nn.Dense(1, use_bias=False, name=name)(signal)
        return signal, signal


def test_layer_wise_rates_equal_updates_by_hand():
    """Adam (arXiv:1412.6980) in float64, with the factors 1/8, 1/4, 1/2 and 1 for the head."""
    paths = layer_paths(_Stack(), jax.ShapeDtypeStruct((1, 4, 1), jnp.float32))
    rates = layer_rates(paths, 0.125)
    names = ("zeta", "alpha", "mid")
    assert rates == {(name,): pytest.approx(2.0 ** (k - 3)) for k, name in enumerate(names)}
    params = {"encoder": {name: {"kernel": jnp.ones((1, 1))} for name in names}}
    params["head"] = {"kernel": jnp.ones((1, 1))}
    tx = optax.chain(optax.adam(0.1, 0.9, 0.99), scale_layers(rates))
    state = tx.init(params)
    first = second = 0.0
    for step, gradient in enumerate((0.3, -0.7), start=1):
        gradients = jax.tree.map(lambda leaf, g=gradient: jnp.full_like(leaf, g), params)
        updates, state = tx.update(gradients, state, params)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        by_hand = -0.1 * (first / (1 - 0.9**step)) / np.sqrt(second / (1 - 0.99**step))
        for name, factor in zip(names, (0.125, 0.25, 0.5), strict=True):
            update = updates["encoder"][name]["kernel"]
            np.testing.assert_allclose(update, by_hand * factor, rtol=1e-5)
        np.testing.assert_allclose(updates["head"]["kernel"], by_hand, rtol=1e-5)


@pytest.mark.parametrize("lowest", [0.0, -1.0, 1.5, float("nan")])
def test_impossible_lowest_rate_is_refused(lowest):
    with pytest.raises(InputError, match="lowest_rate .*: give a factor above 0, up to 1"):
        FineTuning(lowest_rate=lowest)
