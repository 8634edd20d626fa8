"""Query-attention probe: attention against NumPy, kept tokens, training, and the saved model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax.adapt import linear_probe
from ecgjax.adapt.attention_probe import AttentionProbing
from ecgjax.adapt.parts import attention_training, tokens
from ecgjax.adapt.parts.attention_training import FALLBACK_STEPS, HeadTraining, fit_head
from ecgjax.adapt.parts.tokens import Tokens, read_tokens
from ecgjax.classifier import Classifier, load
from ecgjax.errors import InputError
from ecgjax.evaluate import predictions
from ecgjax.evaluate.metrics import auroc
from ecgjax.evaluate.tasks import TASKS
from ecgjax.launch import finetune as finetune_command
from ecgjax.outputs import MOST_TOKENS, Outputs, QueryAttention, merge_tokens
from ecgjax.pretrained import load_encoder
from ecgjax.workflows.further_probes import mean_pooled
from ecgjax.workflows.low_label import task_recordings

SETTINGS = HeadTraining(queries=4, learning_rate=1e-2, weight_decay=1e-3, batch_size=32, seed=0)
LABELS = Outputs("late", "labels", ("late", "early"))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(attention_training, "STEPS", (50, 100, 200))


def _softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def test_attention_equals_float64_attention_of_projected_values():
    """The reference projects each token before pooling, as multi-head attention does."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(3, 7, 12))
    query = 3 * rng.normal(size=(4, 12))
    value = rng.normal(size=(4, 12, 3))
    expected = np.zeros((3, 12))
    for recording in range(3):
        for k in range(4):
            weights = _softmax(hidden[recording] @ query[k] / np.sqrt(12))
            pairs = zip(weights, hidden[recording], strict=True)
            pooled = sum(w * (token @ value[k]) for w, token in pairs)
            expected[recording, 3 * k : 3 * k + 3] = pooled
    params = {"query": jnp.float32(query), "value": jnp.float32(value)}
    found: Any = QueryAttention(4).apply({"params": params}, jnp.float32(hidden))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("queries", [1, 4, 5, 20])
def test_attention_starts_as_the_mean_over_time(queries):
    hidden = jnp.float32(np.random.default_rng(1).normal(size=(2, 6, 12)))
    module = QueryAttention(queries)
    pooled: Any = module.apply(module.init(jax.random.key(0), hidden), hidden)
    found = np.asarray(pooled)
    expected = hidden.mean(1)[:, np.arange(found.shape[1]) % 12]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_many_tokens_become_averages_of_neighbours():
    values = np.random.default_rng(2).normal(size=(2, 70, 3)).astype(np.float32)
    merged = np.asarray(merge_tokens(jnp.asarray(values)))
    assert merged.shape == (2, 24, 3) and merged.shape[1] <= MOST_TOKENS
    np.testing.assert_allclose(merged[:, 0], values[:, :3].mean(1), rtol=1e-5)
    np.testing.assert_allclose(merged[:, 23], values[:, 69], rtol=1e-5)
    np.testing.assert_array_equal(merge_tokens(jnp.asarray(merged)), merged)


def _marked(rng, patients):
    """Returns tokens of two windows each; of `late` the highest mark is late, of others early.

    The mean of the tokens does not tell them apart.
    """
    late = rng.random(patients) < 0.5
    values = 0.1 * rng.normal(size=(patients, 2, 6, 8))
    values[..., 0] = np.arange(6) - 2.5
    place = np.where(late, 4, 1)
    values[np.arange(patients), :, place, 1] += 3
    targets = np.stack([late, ~late], axis=1).astype(np.float32)
    kept = values.reshape(-1, 6, 8).astype(np.float16)
    return Tokens(np.arange(patients), kept, 2 * np.arange(patients + 1)), targets


def _fit(settings, outputs, kept, targets, patients=None):
    rows = np.arange(len(targets))
    return fit_head(settings, outputs, kept, rows, targets, rows if patients is None else patients)


def test_queries_find_what_the_mean_of_the_tokens_hides():
    kept, targets = _marked(np.random.default_rng(3), 120)
    tested, truth = _marked(np.random.default_rng(4), 80)
    head, steps = _fit(SETTINGS, LABELS, kept, targets)
    assert steps in attention_training.STEPS
    predicted = head.predict(tested, np.arange(80))
    assert predicted.shape == (80, 2) and predicted.min() > 0 and predicted.max() < 1
    assert auroc(truth, predicted).min() > 0.95
    means = kept.values.reshape(120, 12, 8).astype(np.float32).mean(1)
    probe = linear_probe.fit(means, targets, np.arange(120), seed=0)
    blind = probe.scores(tested.values.reshape(80, 12, 8).astype(np.float32).mean(1))
    assert auroc(truth, blind).max() < 0.75


def test_head_starts_with_the_share_of_each_label():
    kept, targets = _marked(np.random.default_rng(7), 40)
    targets[:, 1] = 0
    head = attention_training.Head(SETTINGS, LABELS, kept, np.arange(40), targets)
    expected = [(targets[:, 0].sum() + 0.5) / 41, 0.5 / 41]
    np.testing.assert_allclose(head.predict(kept, np.arange(3)), [expected] * 3, rtol=1e-4)


def test_the_same_seed_gives_the_same_head_to_the_last_bit():
    kept, targets = _marked(np.random.default_rng(5), 40)
    heads = [_fit(SETTINGS, LABELS, kept, targets)[0] for _ in range(2)]
    for first, second in zip(*(jax.tree.leaves(head.variables) for head in heads), strict=True):
        np.testing.assert_array_equal(first, second)


def test_classes_and_numbers_are_learned_too():
    kept, targets = _marked(np.random.default_rng(6), 120)
    rows = np.arange(120)
    classes = Outputs("when", "classes", ("late", "early"))
    unknown = targets.copy()
    unknown[:5] = np.nan
    head, _ = _fit(SETTINGS, classes, kept, unknown)
    predicted = head.predict(kept, rows)
    np.testing.assert_allclose(predicted.sum(1), 1, rtol=1e-5)
    assert auroc(targets, predicted).min() > 0.95
    age = 50 + 20 * targets[:, :1]
    numbers = Outputs("age", "numbers", ("age",)).fitted(age)
    head, _ = _fit(SETTINGS, numbers, kept, age)
    assert np.abs(head.predict(kept, rows) - age).mean() < 8  # 10 without learning


def test_recordings_of_one_patient_take_the_fallback():
    kept, targets = _marked(np.random.default_rng(7), 12)
    _, steps = _fit(SETTINGS, LABELS, kept, targets, np.zeros(12))
    assert steps == FALLBACK_STEPS


def test_kept_tokens_are_those_of_the_encoder(workdir, records):
    encoder = load_encoder(workdir)
    indices = records.split("train")[[5, 2, 9]]
    kept = read_tokens(encoder, records, indices, window_s=2.5, batch_size=2)
    assert kept.values.dtype == np.float16 and np.diff(kept.starts).tolist() == [7, 7, 7]
    np.testing.assert_array_equal(kept.indices, np.sort(indices))
    # Their mean over windows is the embedding of the encoder that is read out by its mean token.
    windows = dataclasses.replace(encoder.preprocessing, window_s=2.5)
    pooled = dataclasses.replace(mean_pooled(encoder), preprocessing=windows)
    expected = pooled.embed_records(records, kept.indices)
    found = kept.values.astype(np.float32).reshape(3, 7, -1, kept.values.shape[2]).mean((1, 2))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_long_recordings_keep_the_windows_of_all_their_pieces(workdir, records):
    """Predictions from kept tokens are those of a classifier, which divides recordings as well."""
    encoder = load_encoder(workdir)
    short = dataclasses.replace(encoder.preprocessing, seconds=4.0)
    encoder = dataclasses.replace(encoder, preprocessing=short)
    indices = records.split("test")[:3]
    kept = read_tokens(encoder, records, indices, window_s=2.5, batch_size=2)
    assert np.diff(kept.starts).tolist() == [9, 9, 9]  # three pieces of 4 s, three windows each
    whole = dataclasses.replace(short, window_s=2.5)
    pooled = dataclasses.replace(mean_pooled(encoder), preprocessing=whole)
    found = kept.values.astype(np.float32).reshape(3, 9, -1, kept.values.shape[2]).mean((1, 2))
    expected = pooled.embed_records(records, indices)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)


def test_tokens_beyond_the_limit_are_refused_in_one_line(workdir, records, monkeypatch):
    monkeypatch.setattr(tokens, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="tokens of 14 windows take .* give fewer labels"):
        read_tokens(load_encoder(workdir), records, records.split("train")[:2], window_s=2.5)


def test_wrong_settings_are_refused():
    every: list[dict[str, Any]] = [{"queries": 0}, {"learning_rate": 0.0}, {"window_s": -1.0}]
    for wrong in every:
        with pytest.raises(InputError, match="must be positive"):
            AttentionProbing(**wrong)


def test_a_saved_probe_predicts_what_it_predicted(command, workdir, prepared, records, tmp_path):
    options = ["--data", prepared, "--task", "superclass", "--checkpoint", workdir]
    options += ["--method", "attention_probe", "--queries", 2, "--batch-size", 16]
    run = tmp_path / "run"
    status, out, err = command(finetune_command, *options, "--workdir", run)
    assert status == 0, err
    assert "next: " in out
    model = load(run)
    assert (
        isinstance(model, Classifier)
        and model.window_s == 2.5
        and model.head["params"]["attention"]["query"].shape == (2, 8)
    )
    settings = model.config["attention_probe"]
    assert settings["queries"] == 2 and settings["chosen_steps"] in attention_training.STEPS
    test = predictions.load(run)[1]["test"]
    predicted = model.predict_records(records, test.recordings)
    np.testing.assert_allclose(predicted, test.predicted, rtol=1e-5)
    # The kept tokens are float16, those of the model float32.
    kept = read_tokens(load_encoder(workdir), records, test.recordings, window_s=2.5)
    labelled = task_recordings(records, TASKS["superclass"], records.split("train"))
    training = read_tokens(load_encoder(workdir), records, labelled.indices, window_s=2.5)
    probe = AttentionProbing(queries=2, batch_size=16)
    outputs = TASKS["superclass"].outputs
    head, _ = probe.fit(training, labelled.indices, labelled.targets, labelled.patients, outputs)
    again = head.predict(kept, kept.positions(test.recordings))
    np.testing.assert_allclose(again, predicted, atol=2e-3)
