"""Patient contrast as a whole: on one device and on eight, in microbatches, with a queue."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import TINY
from helpers.steps import CROPS, check_learns, distance, first_step, init_variables, noise_batch
from helpers.steps import TWO_SECONDS as PREPROCESSING

from ecgjax.augment import Augmentation
from ecgjax.data.pairs import PairRule
from ecgjax.encoders.two_path_resnet import TwoPathResnet
from ecgjax.errors import InputError
from ecgjax.objectives.parts.nt_xent import NO_PATIENT, nt_xent
from ecgjax.objectives.patient_contrast import PatientContrast
from ecgjax.preprocessing import Preprocessor, preprocess
from ecgjax.train.sharding import data_mesh, place, replicated, split
from ecgjax.train.state import create_state, make_step

OBJECTIVE = PatientContrast(projection=(16, 8), augmentation=Augmentation(crop_s=1.0))
PLAIN = dataclasses.replace(OBJECTIVE, augmentation=CROPS)
"""The same with views that compile faster: microbatches and queue treat all views alike."""
MICROBATCHES = dataclasses.replace(PLAIN, microbatch=8)
"""Two microbatches in a batch of 16 pairs."""


@pytest.fixture(scope="module")
def variables():
    return init_variables(OBJECTIVE)


@pytest.fixture(scope="module")
def batch():
    return noise_batch(16, views=(2,))


@pytest.fixture(scope="module")
def steps(variables, batch):
    """One step by number of devices."""
    return {devices: first_step(OBJECTIVE, variables, batch, devices=devices) for devices in (1, 8)}


def test_eight_devices_have_the_loss_of_one(steps):
    for name, value in steps[1][0].items():
        np.testing.assert_allclose(steps[8][0][name], value, rtol=1e-6, atol=2e-7, err_msg=name)


def test_one_dispatch_of_three_steps_equals_three_dispatches(variables, batch):
    mesh = data_mesh()
    tx = optax.sgd(0.01)
    loss = functools.partial(PLAIN.loss, TINY, preprocess=Preprocessor(PREPROCESSING, 100.0))
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    step_fn = make_step(loss, tx, mesh, num_steps=3)
    batches = [
        {name: np.roll(part, shift, axis=0) for name, part in batch.items()} for shift in range(3)
    ]
    one_by_one = create_state(variables, tx, mesh)
    for single in batches:
        stack = place({name: part[None] for name, part in single.items()}, mesh)
        one_by_one, expected = step_fn(one_by_one, stack, key, None)
    stack = jax.tree.map(lambda *parts: np.stack(parts), *batches)
    at_once, metrics = step_fn(create_state(variables, tx, mesh), place(stack, mesh), key, None)
    assert int(at_once.step) == int(one_by_one.step) == 3
    assert distance(at_once.params, one_by_one.params) < 1e-6
    assert metrics.pop("finite").shape == (3,) and expected.pop("finite").shape == (1,)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_eight_devices_have_the_gradient_and_statistics_of_one(steps):
    assert distance(steps[8][1], steps[1][1]) < 1e-5
    assert distance(steps[8][2]["batch_stats"], steps[1][2]["batch_stats"]) < 1e-6
    check_learns(steps[1])
    for path, leaf in jax.tree.leaves_with_path(steps[1][1]):
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.fixture(scope="module")
def jitted_loss():
    return jax.jit(
        functools.partial(PLAIN.loss, TINY, preprocess=Preprocessor(PREPROCESSING, 100.0))
    )


def test_views_depend_on_the_key(jitted_loss, variables, batch):
    first, again, other = (
        jitted_loss(variables, batch, jax.random.key(seed))[0] for seed in (0, 0, 1)
    )
    assert first == again != other


def test_equal_projections_have_the_loss_of_guessing(jitted_loss, variables, batch):
    """The guess is among the candidates that are not excluded."""
    head = variables["params"]["projector"]
    constant = {
        "kernel": jnp.zeros_like(head["layer2"]["kernel"]),
        "bias": jnp.ones_like(head["layer2"]["bias"]),
    }
    params = {**variables["params"], "projector": {**head, "layer2": constant}}
    loss, (metrics, _) = jitted_loss({**variables, "params": params}, batch, jax.random.key(0))
    owner = np.tile(batch["patient"], 2)
    candidates = (owner[:, None] != owner[None, :]).sum(1) + 1
    assert metrics["positive_cosine"] > 1 - 1e-6
    np.testing.assert_allclose(loss, np.log(candidates).mean(), rtol=1e-5)


@functools.cache  # one program for all tests of an objective
def _loss_and_gradient(objective):
    """(params, other variables, batch) -> (loss, (metrics, updates)), gradient."""
    loss = functools.partial(objective.loss, TINY, preprocess=Preprocessor(PREPROCESSING, 100.0))

    def params_loss(params, collections, batch):
        return loss({**collections, "params": params}, batch, jax.random.key(2))

    return jax.jit(jax.value_and_grad(params_loss, has_aux=True))


def _gradient(objective, variables, batch):
    collections = {name: part for name, part in variables.items() if name != "params"}
    (value, (_, updates)), gradient = _loss_and_gradient(objective)(
        variables["params"], collections, batch
    )
    return value, gradient, updates


def test_microbatches_are_contrasted_as_a_whole(variables, batch):
    """The reference encodes the same microbatches in plain Python and keeps all activations."""
    value, gradient, updates = _gradient(MICROBATCHES, variables, batch)

    def plain(params, batch):
        network = PLAIN.network(TINY)
        projections = [None] * 16
        statistics = []
        for number in range(2):
            rows = np.arange(16)[number::2]
            signal = batch["signal"][rows].reshape(16, 200, 12)
            key = jax.random.fold_in(jax.random.key(2), number)
            recordings = preprocess(signal, PREPROCESSING, rate_hz=100.0)
            views = CROPS.views(recordings, key, rate_hz=100.0)
            (_, projected), updated = network.apply(
                {**variables, "params": params}, views, train=True, mutable=["batch_stats"]
            )
            statistics.append(updated)
            for row, projection in zip(rows, projected.reshape(8, 2, -1), strict=True):
                projections[row] = projection
        mean = jax.tree.map(lambda *leaves: sum(leaves) / 2, *statistics)
        return nt_xent(jnp.stack(projections), batch["patient"], temperature=0.1)[0], mean

    (expected, mean), expected_gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(
        variables["params"], batch
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert distance(gradient, expected_gradient) < 1e-5
    assert distance(updates["batch_stats"], mean["batch_stats"]) < 1e-6


def test_microbatches_are_the_same_on_eight_devices(variables, batch):
    """Two microbatches of eight pairs: each device encodes one pair at a time."""
    one = _gradient(MICROBATCHES, variables, batch)
    mesh = data_mesh()
    placed_variables = jax.device_put(variables, replicated(mesh))
    eight = _gradient(MICROBATCHES, placed_variables, jax.device_put(batch, split(mesh)))
    np.testing.assert_allclose(eight[0], one[0], rtol=1e-6)
    assert distance(eight[1], one[1]) < 1e-5


def test_microbatches_need_less_memory(variables, batch):
    large_batch = {
        name: jax.ShapeDtypeStruct((256, *part.shape[1:]), part.dtype)
        for name, part in batch.items()
    }
    collections = {"batch_stats": variables["batch_stats"]}

    def temporary_bytes(microbatch):
        gradient = _loss_and_gradient(dataclasses.replace(PLAIN, microbatch=microbatch))
        lowered = gradient.lower(variables["params"], collections, large_batch)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(microbatch=16) < temporary_bytes(microbatch=0) / 4


@pytest.mark.parametrize("size", [5, -4, 32])
def test_a_microbatch_that_does_not_divide_the_batch_is_refused(variables, batch, size):
    with pytest.raises(InputError, match=f"--microbatch {size}: give a divisor of the batch of 16"):
        _gradient(dataclasses.replace(OBJECTIVE, microbatch=size), variables, batch)


def test_the_queue_is_encoded_by_an_ema_and_drops_the_oldest(batch):
    objective = dataclasses.replace(PLAIN, queue=24, queue_momentum=0.75)
    variables = init_variables(objective)
    jax.tree.map(np.testing.assert_array_equal, variables["slow"]["params"], variables["params"])
    moved = {**variables, "params": jax.tree.map(lambda leaf: leaf + 1.0, variables["params"])}
    empty, _, updates = _gradient(objective, moved, batch)
    average = jax.tree.map(lambda leaf: leaf + 0.25, variables["params"])
    # Where the two terms of the EMA cancel, only their rounding error is left.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=3e-8)
    jax.tree.map(close, updates["slow"]["params"], average)
    without_queue = {name: moved[name] for name in ("params", "batch_stats")}
    plain, *_ = _gradient(PLAIN, without_queue, batch)
    np.testing.assert_allclose(empty, plain, rtol=1e-6)  # the queue is still empty
    first = updates["queue"]
    assert first["patient"].tolist() == [*batch["patient"], *[NO_PATIENT] * 8]
    np.testing.assert_allclose(
        np.linalg.norm(first["embedding"], axis=1), [1] * 16 + [0] * 8, rtol=1e-5
    )
    value, gradient, updates = _gradient(objective, {**moved, **updates}, batch)
    assert value > empty
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
    assert updates["queue"]["patient"].tolist() == [*batch["patient"], *batch["patient"][:8]]
    np.testing.assert_array_equal(updates["queue"]["embedding"][16:], first["embedding"][:8])
    assert jax.tree.structure(updates["queue"]) == jax.tree.structure(variables["queue"])


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"queue": -1}, {"queue_momentum": 1.0}])
def test_impossible_settings_are_refused(wrong):
    message = "give a temperature above 0, a queue of 0 or more and a momentum from 0"
    with pytest.raises(InputError, match=message):
        PatientContrast(**wrong)


def test_settings_become_the_rule_that_pairs_recordings():
    objective = PatientContrast(instance_share=0.3, min_days=1, max_days=30)
    assert objective.examples == PairRule(instance_share=0.3, min_days=1, max_days=30)
    with pytest.raises(InputError, match="instance-share 2"):
        PatientContrast(instance_share=2)


def test_each_part_of_an_embedding_is_contrasted_alone(batch):
    """The gradient of one path does not depend on the weights of the other, nor does its queue."""
    encoder = TwoPathResnet(
        widths=(4,), read_out_blocks=1, lead_widths=(4,), lead_stem=4, leads=(0, 1)
    )
    objective = dataclasses.replace(PLAIN, queue=8)
    variables = objective.init(encoder, jax.random.key(0), jnp.zeros((2, 200, 12)))
    assert variables["queue"]["embedding"].shape == (8, 2 * 8)
    changed = jax.tree.map(jnp.copy, variables)
    single = changed["params"]["encoder"]["single"]
    changed["params"]["encoder"]["single"] = jax.tree.map(lambda leaf: 2 * leaf + 0.1, single)
    loss = functools.partial(objective.loss, encoder, preprocess=Preprocessor(PREPROCESSING, 100.0))

    @jax.jit
    def gradient(params, variables):
        def total(params):
            return loss({**variables, "params": params}, batch, jax.random.key(1))

        gradients, (_, updates) = jax.grad(total, has_aux=True)(params)
        return gradients["encoder"], updates["queue"]["embedding"]

    before, queue = gradient(variables["params"], variables)
    after, changed_queue = gradient(changed["params"], variables)
    assert distance(before["joint"], after["joint"]) < 1e-6
    assert distance(before["single"], after["single"]) > 1e-3
    lengths = np.linalg.norm(np.reshape(queue, (8, 2, 8)), axis=-1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    np.testing.assert_allclose(queue[:, :8], changed_queue[:, :8], atol=1e-6)
