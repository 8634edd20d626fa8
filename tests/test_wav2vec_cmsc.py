"""wav2vec 2.0 with CMSC: both contrasts and the quantiser against their formulas, masks, and a
step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    FOUR_LEADS,
    check_step,
    init_variables,
    noise_batch,
    numeric_gradient,
)

from ecgjax.encoders.wav2vec_transformer import Wav2vecTransformer
from ecgjax.errors import InputError
from ecgjax.objectives.parts.quantiser import (
    GumbelQuantiser,
    diversity_loss,
    masked_contrastive_loss,
)
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc, Wav2vecNetwork, cmsc_loss

OBJECTIVE = Wav2vecCmsc(codes=6, width=8, span_samples=10, stretch=3, starts=0.2)
WAV2VEC = Wav2vecTransformer(
    channels=4, halvings=3, width=8, layers=1, heads=2, position_kernel=4, position_groups=2
)
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 2, 5, 3)).astype(np.float32)
CODES = np.array(
    [[[0, 1], [0, 1], [2, 1], [0, 2], [1, 1]], [[3, 3], [0, 1], [3, 3], [3, 3], [1, 1]]]
)
MASK = np.array([[1, 1, 1, 0, 1], [0, 1, 1, 1, 0]], bool)
PAIRS = _RNG.normal(size=(4, 2, 3)).astype(np.float32)
PATIENTS = np.array([7, 2, 7, 5])


def _cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def _masked_reference(predicted):
    losses = []
    for segment, position in zip(*np.nonzero(MASK), strict=True):
        target = TARGET[segment].astype(np.float64)
        prediction = predicted[segment, position]
        positive = np.exp(_cosine(prediction, target[position]) / 0.1)
        total = positive
        for other in range(5):
            different = (CODES[segment, other] != CODES[segment, position]).any()
            if MASK[segment, other] and different:
                total += np.exp(_cosine(prediction, target[other]) / 0.1)
        losses.append(-np.log(positive / total))
    return np.mean(losses)


def test_contrast_of_masked_positions_equals_the_formula():
    def contrast(predicted):
        return masked_contrastive_loss(
            predicted, jnp.asarray(TARGET), jnp.asarray(CODES), jnp.asarray(MASK), temperature=0.1
        )

    (value, accuracy), gradient = jax.jit(jax.value_and_grad(contrast, has_aux=True))(
        jnp.asarray(PREDICTED)
    )
    exact = PREDICTED.astype(np.float64)
    np.testing.assert_allclose(value, _masked_reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_masked_reference, exact), atol=1e-5)
    perfect_value, perfect_accuracy = contrast(jnp.asarray(TARGET))
    assert perfect_accuracy == 1 >= accuracy
    assert perfect_value < value


def _cmsc_reference(pairs):
    losses = []
    for own in range(4):
        for first in (0, 1):
            scores = [
                np.exp(_cosine(pairs[own, first], pairs[other, 1 - first]) / 0.1)
                for other in range(4)
            ]
            positive = [other for other in range(4) if PATIENTS[other] == PATIENTS[own]]
            losses.append(np.mean([-np.log(scores[other] / sum(scores)) for other in positive]))
    return np.mean(losses)


def test_contrast_of_segments_equals_the_formula():
    value, gradient = jax.jit(jax.value_and_grad(cmsc_loss))(
        jnp.asarray(PAIRS), jnp.asarray(PATIENTS), temperature=0.1
    )
    exact = PAIRS.astype(np.float64)
    np.testing.assert_allclose(value, _cmsc_reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_cmsc_reference, exact), atol=1e-5)


def test_diversity_loss_equals_the_formula():
    probability = _RNG.dirichlet(np.ones(4), size=(2, 5, 2)).astype(np.float32)
    mean = probability[MASK].mean(0).astype(np.float64)
    expected = 1 - sum(np.exp(-(codebook * np.log(codebook)).sum()) for codebook in mean) / 8
    np.testing.assert_allclose(diversity_loss(probability, MASK), expected, atol=1e-5)
    np.testing.assert_allclose(diversity_loss(jnp.full((2, 5, 2, 4), 0.25), MASK), 0, atol=1e-5)


def test_the_quantiser_returns_codes_and_has_the_gradient_of_the_softmax():
    features = _RNG.normal(size=(2, 50, 3)).astype(np.float32)
    quantiser = GumbelQuantiser(codebooks=2, codes=4, width=6)
    key = jax.random.key(1)
    variables = quantiser.init(jax.random.key(0), features, key, 1.0)
    quantised, codes, probability = quantiser.apply(variables, features, key, 1.0)
    codebook = np.asarray(variables["params"]["codebook"])
    expected = np.concatenate([codebook[number][codes[..., number]] for number in (0, 1)], axis=-1)
    np.testing.assert_allclose(quantised, expected, atol=1e-6)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    score = variables["params"]["score"]

    def noisy_logits(kernel):
        logits = (features @ kernel + score["bias"][None, None]).reshape(2, 50, 2, 4)
        return logits + jax.random.gumbel(key, logits.shape)

    def soft(kernel):
        shares = jax.nn.softmax(noisy_logits(kernel) / 0.7)
        return jnp.einsum("btgv,gvd->btgd", shares, codebook).sum()

    def hard(kernel):
        params = {**variables["params"], "score": {**score, "kernel": kernel}}
        return quantiser.apply({"params": params}, features, key, 0.7)[0].sum()

    gradient = jax.jit(jax.grad(hard))(score["kernel"])
    np.testing.assert_allclose(gradient, jax.jit(jax.grad(soft))(score["kernel"]), atol=1e-4)
    np.testing.assert_array_equal(codes, noisy_logits(score["kernel"]).argmax(-1))


@pytest.mark.parametrize("encoder", [TINY, WAV2VEC], ids=["resnet", "wav2vec"])
def test_a_step_trains_every_parameter_and_equals_that_of_eight_devices(encoder):
    metrics, _, _ = check_step(
        OBJECTIVE,
        noise_batch(8, patients=6),
        encoder,
        preprocessing=FOUR_LEADS,
        eight_devices=encoder is WAV2VEC,
    )
    contrasts = metrics["contrast"] + metrics["cmsc"]
    total = contrasts + 0.1 * metrics["unused_codes"] + 10 * metrics["feature_size"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


@pytest.mark.parametrize("encoder", [TINY, WAV2VEC], ids=["resnet", "wav2vec"])
def test_predictions_do_not_depend_on_masked_features(encoder):
    objective = dataclasses.replace(OBJECTIVE, span_samples=8)
    variables = init_variables(objective, encoder, FOUR_LEADS)
    signal = np.random.default_rng(2).normal(size=(4, 96, 4)).astype(np.float32)
    run = jax.jit(
        lambda signal: Wav2vecNetwork(encoder, objective).apply(
            variables, signal, jax.random.key(3), 1.0, train=False
        )
    )
    outputs = run(signal)
    mask = np.asarray(outputs["mask"])
    assert mask.shape == (4, 12)
    assert 0 < mask.mean() < 1
    if encoder is WAV2VEC:
        # Pairs of samples in reverse order: the first normalisation over time does not change.
        pairs = signal.reshape(4, 12, 4, 2, 4).copy()
        pairs[mask] = pairs[mask][:, ::-1]
        changed = pairs.reshape(signal.shape)
    else:
        changed = np.where(np.repeat(mask, 8, axis=1)[..., None], 9.0, signal).astype(np.float32)
    other = run(changed)
    np.testing.assert_allclose(other["predicted"], outputs["predicted"], atol=1e-5)
    assert np.abs(other["embedding"] - outputs["embedding"]).max() > 1e-4
    assert np.abs(other["target"] - outputs["target"])[mask].max() > 1e-3


@pytest.mark.parametrize("positions", [1, 4, 31, 157])
def test_some_positions_are_masked_and_never_all(positions):
    network = Wav2vecNetwork(WAV2VEC, Wav2vecCmsc())
    mask = np.asarray(network.draw_mask(jax.random.key(0), 300, positions))
    assert mask.any(1).all()
    if positions > 2:
        assert not mask.all(1).any()
    if positions == 157:
        # 10 spans of 10 positions: 0.49 in the paper, which cuts some of them at the ends.
        np.testing.assert_allclose(mask.mean(), 0.49, atol=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"softness": (2.0, 0.0)},
        {"lead_mask": 1.0},
        {"starts": 0.0},
        {"width": 7},
        {"width": 0},
        {"codes": 1},
        {"cmsc": -1.0},
        {"feature_gradient": -1.0},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Wav2vecCmsc(**wrong)
