"""wav2vec 2.0 with CMSC: both contrasts and the quantiser against their formulas, hidden stretches, and the step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY
from helpers.steps import (
    FOUR_LEADS,
    check_equal,
    check_learns,
    first_step,
    initial,
    lively,
    noise_batch,
    numeric_gradient,
)

from ecgjax.encoders.wav2vec_transformer import Wav2vecTransformer
from ecgjax.errors import InputError
from ecgjax.objectives.parts.quantiser import GumbelQuantiser, hidden_contrast, unused_codes
from ecgjax.objectives.wav2vec_cmsc import Wav2vecCmsc, _Hiding, segment_contrast

OBJECTIVE = Wav2vecCmsc(codes=6, width=8, span_samples=10, stretch=3, starts=0.2)
WAV2VEC = Wav2vecTransformer(
    channels=4, halvings=3, width=8, layers=1, heads=2, position_kernel=4, position_groups=2
)
ON_EIGHT_DEVICES = WAV2VEC  # the others compile as long again
_RNG = np.random.default_rng(0)
PREDICTED, TARGET = _RNG.normal(size=(2, 2, 5, 3)).astype(np.float32)
CODES = np.array(
    [[[0, 1], [0, 1], [2, 1], [0, 2], [1, 1]], [[3, 3], [0, 1], [3, 3], [3, 3], [1, 1]]]
)
HIDDEN = np.array([[1, 1, 1, 0, 1], [0, 1, 1, 1, 0]], bool)
PAIRS = _RNG.normal(size=(4, 2, 3)).astype(np.float32)
PATIENTS = np.array([7, 2, 7, 5])


def _cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def _hidden_reference(predicted):
    losses = []
    for segment, place in zip(*np.nonzero(HIDDEN), strict=True):
        target = TARGET[segment].astype(np.float64)
        own = np.exp(_cosine(predicted[segment, place], target[place]) / 0.1)
        total = own
        for other in range(5):
            if HIDDEN[segment, other] and (CODES[segment, other] != CODES[segment, place]).any():
                total += np.exp(_cosine(predicted[segment, place], target[other]) / 0.1)
        losses.append(-np.log(own / total))
    return np.mean(losses)


def test_contrast_of_hidden_places_equals_the_formula():
    def contrast(predicted):
        return hidden_contrast(
            predicted, jnp.asarray(TARGET), jnp.asarray(CODES), jnp.asarray(HIDDEN), temperature=0.1
        )

    (value, accuracy), gradient = jax.jit(jax.value_and_grad(contrast, has_aux=True))(
        jnp.asarray(PREDICTED)
    )
    exact = PREDICTED.astype(np.float64)
    np.testing.assert_allclose(value, _hidden_reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_hidden_reference, exact), atol=1e-5)
    perfect, all_right = hidden_contrast(
        TARGET, TARGET, jnp.asarray(CODES), jnp.asarray(HIDDEN), temperature=0.1
    )
    assert all_right == 1 >= accuracy and perfect < value


def _segment_reference(pairs):
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
    value, gradient = jax.jit(jax.value_and_grad(segment_contrast))(
        jnp.asarray(PAIRS), jnp.asarray(PATIENTS), temperature=0.1
    )
    exact = PAIRS.astype(np.float64)
    np.testing.assert_allclose(value, _segment_reference(exact), rtol=1e-5)
    np.testing.assert_allclose(gradient, numeric_gradient(_segment_reference, exact), atol=1e-5)


def test_unused_codes_equal_the_formula():
    probability = _RNG.dirichlet(np.ones(4), size=(2, 5, 2)).astype(np.float32)
    mean = probability[HIDDEN].mean(0).astype(np.float64)
    expected = 1 - sum(np.exp(-(book * np.log(book)).sum()) for book in mean) / 8
    np.testing.assert_allclose(unused_codes(probability, HIDDEN), expected, atol=1e-5)
    np.testing.assert_allclose(unused_codes(jnp.full((2, 5, 2, 4), 0.25), HIDDEN), 0, atol=1e-5)


def test_quantiser_chooses_codes_and_learns_as_if_softly():
    features = _RNG.normal(size=(2, 50, 3)).astype(np.float32)
    quantiser, key = GumbelQuantiser(codebooks=2, codes=4, width=6), jax.random.key(1)
    variables = quantiser.init(jax.random.key(0), features, key, 1.0)
    quantised, codes, probability = quantiser.apply(variables, features, key, 1.0)
    book = np.asarray(variables["params"]["codebook"])
    expected = np.concatenate([book[number][codes[..., number]] for number in (0, 1)], axis=-1)
    np.testing.assert_allclose(quantised, expected, atol=1e-6)
    np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    score = variables["params"]["score"]
    logits = (features @ score["kernel"] + score["bias"][None, None]).reshape(2, 50, 2, 4)
    noise = jax.random.gumbel(key, logits.shape)

    def soft(kernel):
        moved = (features @ kernel + score["bias"][None, None]).reshape(2, 50, 2, 4)
        return (jnp.einsum("btgv,gvd->btgd", jax.nn.softmax((moved + noise) / 0.7), book)).sum()

    def hard(kernel):
        params = {**variables["params"], "score": {**score, "kernel": kernel}}
        return quantiser.apply({"params": params}, features, key, 0.7)[0].sum()

    np.testing.assert_allclose(
        jax.jit(jax.grad(hard))(score["kernel"]),
        jax.jit(jax.grad(soft))(score["kernel"]),
        atol=1e-4,
    )
    np.testing.assert_array_equal(codes, (logits + noise).argmax(-1))


@pytest.mark.parametrize("encoder", [TINY, WAV2VEC], ids=["resnet", "wav2vec"])
def test_step_reaches_every_parameter_and_is_the_same_on_eight_devices(encoder):
    variables, batch = lively(initial(OBJECTIVE, encoder, FOUR_LEADS)), noise_batch(8, patients=6)
    one = first_step(OBJECTIVE, variables, batch, encoder=encoder, preprocessing=FOUR_LEADS)
    check_learns(one)
    metrics = one[0]
    total = (
        metrics["contrast"]
        + metrics["cmsc"]
        + 0.1 * metrics["unused_codes"]
        + 10 * metrics["feature_size"]
    )
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    assert metrics["embedding_rank"] > 1
    if encoder is ON_EIGHT_DEVICES:
        check_equal(
            one,
            first_step(
                OBJECTIVE, variables, batch, encoder=encoder, devices=8, preprocessing=FOUR_LEADS
            ),
        )


@pytest.mark.parametrize("encoder", [TINY, WAV2VEC], ids=["resnet", "wav2vec"])
def test_prediction_does_not_see_what_is_hidden(encoder):
    objective = dataclasses.replace(OBJECTIVE, span_samples=8)
    variables = initial(objective, encoder, FOUR_LEADS)
    signal = np.random.default_rng(2).normal(size=(4, 96, 4)).astype(np.float32)
    make = jax.jit(
        lambda signal: _Hiding(encoder, objective).apply(
            variables, signal, jax.random.key(3), 1.0, train=False
        )
    )
    made = make(signal)
    hidden = np.asarray(made["hidden"])
    assert hidden.shape == (4, 12) and 0 < hidden.mean() < 1
    if (
        encoder is WAV2VEC
    ):  # the same pairs of samples in another order: its first normalisation sees no difference
        pairs = signal.reshape(4, 12, 4, 2, 4).copy()
        pairs[hidden] = pairs[hidden][:, ::-1]
        moved = pairs.reshape(signal.shape)
    else:
        moved = np.where(np.repeat(hidden, 8, axis=1)[..., None], 9.0, signal).astype(np.float32)
    other = make(moved)
    np.testing.assert_allclose(other["predicted"], made["predicted"], atol=1e-5)
    assert np.abs(other["embedding"] - made["embedding"]).max() > 1e-4
    assert np.abs(other["target"] - made["target"])[hidden].max() > 1e-3


@pytest.mark.parametrize("places", [1, 4, 31, 157])
def test_stretches_are_hidden_and_never_all(places):
    hidden = np.asarray(_Hiding(WAV2VEC, Wav2vecCmsc())._hide(jax.random.key(0), 300, places))
    assert hidden.any(1).all()
    if places > 2:
        assert not hidden.all(1).any()
    if places == 157:  # 10 starts of 10 places each: 0.49 by the paper, some of it cut by the ends
        np.testing.assert_allclose(hidden.mean(), 0.49, atol=0.02)


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
