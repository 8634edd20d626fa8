"""Dice and local contrast against their formulas, the schedule of pseudo-labels, and the whole way to marked waves."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.steps import distance

from ecgjax.adapt.local_contrast import Contrast, LocalContrast, Segmentation
from ecgjax.adapt.parts.sample_contrast import local_contrast
from ecgjax.adapt.parts.segmenter import dice_loss, read_marks, segment
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.augment import Augmentation
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.unet1d import Unet1d
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.signals import UNMARKED
from ecgjax.train.checkpoint import describe, find_checkpoint
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step

TINY = Unet1d(widths=(4, 8))
# Without what takes long to compile and asks nothing of marks (test_augment has it).
WHOLE = dataclasses.replace(
    LocalContrast().augmentation, gain=0.0, noise_mv=0.0, wander_mv=0.0, time_out=0.0
)
WAY = Segmentation(Contrast(alone=0.25, refreshes=3), WHOLE)
PREPROCESSING = Preprocessing(seconds=2.5)


def _dice_loss(logits, marks):
    known = marks != UNMARKED
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    terms = [
        1
        - 2
        * share[known & (marks == k)][:, k].sum()
        / ((marks == k)[known].sum() + share[known][:, k].sum() + 1e-6)
        for k in range(4)
    ]
    return np.mean(terms)


def _slopes(function, x, positions):
    """Central differences of float64 `function` at some positions of x."""
    found = []
    for position in positions:
        step = np.zeros_like(x)
        step[position] = 1e-5
        found.append((function(x + step) - function(x - step)) / 2e-5)
    return np.array(found)


def test_dice_loss_equals_the_formula_and_its_gradient():
    rng = np.random.default_rng(0)
    logits, marks = (
        rng.normal(0, 2, (3, 20, 4)),
        rng.choice([0, 1, 2, 3, UNMARKED], (3, 20)).astype(np.uint8),
    )
    value, gradient = jax.jit(jax.value_and_grad(dice_loss))(
        jnp.asarray(logits, jnp.float32), marks
    )
    np.testing.assert_allclose(value, _dice_loss(logits, marks), rtol=1e-5)
    positions = [tuple(rng.integers(size) for size in logits.shape) for _ in range(20)]
    expected = _slopes(lambda x: _dice_loss(x, marks), logits, positions)
    np.testing.assert_allclose(
        [gradient[position] for position in positions], expected, rtol=1e-3, atol=1e-6
    )
    assert not np.asarray(gradient)[marks == UNMARKED].any() and np.abs(expected).max() > 1e-4


def _local_contrast(elements, marks, kinds, temperature):
    """All samples of all kinds, one by one."""
    unit = elements / np.linalg.norm(elements, axis=-1, keepdims=True)
    means = [
        {k: elements[r][marks[r] == k].mean(0) for k in kinds if (marks[r] == k).any()}
        for r in range(len(marks))
    ]
    terms = []
    for r in range(len(marks)):
        near = [means[r], means[r - 2]]
        for t, kind in enumerate(marks[r]):
            if kind not in kinds:
                continue
            similar = [
                {
                    k: unit[r, t] @ mean / np.linalg.norm(mean) / temperature
                    for k, mean in of_one.items()
                }
                for of_one in near
            ]
            total = np.log(sum(np.exp(value) for of_one in similar for value in of_one.values()))
            terms += [total - of_one[kind] for of_one in similar if kind in of_one]
    return np.mean(terms)


@pytest.mark.parametrize("kinds", [(1, 2, 3), (0, 1, 2, 3)])
def test_local_contrast_equals_the_formula_and_its_gradient(kinds):
    """Where all samples are drawn; one recording lacks P, as in fibrillation."""
    rng = np.random.default_rng(1)
    elements, marks = (
        rng.normal(size=(4, 12, 5)),
        np.tile([0, 0, 1, 1, 2, 2, 3, 3, 0, UNMARKED, UNMARKED, 3], (4, 1)),
    )
    marks = rng.permuted(marks, axis=1)
    marks[2][marks[2] == 1] = UNMARKED
    draw_all = functools.partial(
        local_contrast, key=jax.random.key(0), kinds=kinds, partner=2, temperature=0.3, per_wave=12
    )
    value, gradient = jax.jit(jax.value_and_grad(draw_all))(
        jnp.asarray(elements, jnp.float32), jnp.asarray(marks)
    )
    np.testing.assert_allclose(value, _local_contrast(elements, marks, kinds, 0.3), rtol=1e-5)
    positions = [tuple(rng.integers(size) for size in elements.shape) for _ in range(25)]
    expected = _slopes(lambda x: _local_contrast(x, marks, kinds, 0.3), elements, positions)
    np.testing.assert_allclose(
        [gradient[position] for position in positions], expected, rtol=2e-3, atol=1e-5
    )


def test_three_drawn_samples_stand_for_all():
    marks = jnp.asarray(np.random.default_rng(2).integers(4, size=(3, 60)))
    elements = jax.random.normal(jax.random.key(3), (3, 60, 4))

    @functools.partial(jax.jit, static_argnums=1)
    def loss(seed, per_wave):
        key = jax.random.key(seed)
        return local_contrast(
            elements, marks, key, kinds=(1, 2, 3), partner=1, temperature=1.0, per_wave=per_wave
        )

    assert loss(0, 3) == loss(0, 3) != loss(1, 3)
    np.testing.assert_allclose(
        np.mean([loss(seed, 3) for seed in range(100)]), loss(0, 60), rtol=0.03
    )


@pytest.fixture(scope="module")
def variables():
    variables = jax.jit(functools.partial(WAY.init, TINY))(
        jax.random.key(0), jnp.zeros((2, 250, 12))
    )
    return {**variables, "labeller": {"network": variables, "refreshed": jnp.zeros((), jnp.int32)}}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    signal, unlabelled = (
        rng.normal(0, 500, size=size).astype(np.int16) for size in ((8, 250, 12), (8, 1, 250, 12))
    )
    marks = np.repeat(rng.integers(4, size=(8, 25)), 10, axis=1).astype(np.uint8)
    return {"signal": signal, "unlabelled": unlabelled, "targets": marks}


def _steps(way, variables, batch, *, devices=1, steps=1, num_steps=1):
    """After each of `steps` steps of the jitted function: metrics, the last gradient, collections."""
    tx, mesh = optax.trace(decay=0.0), data_mesh(jax.devices()[:devices])
    loss = functools.partial(way.loss, TINY, preprocess=Preprocessor(PREPROCESSING, 100.0))
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    step_fn, state = (
        make_step(loss, tx, mesh, num_steps=num_steps),
        create_state(variables, tx, mesh),
    )
    for _ in range(steps):
        state, metrics = step_fn(
            state, place(jax.tree.map(lambda part: part[None], batch), mesh), key, None
        )
        yield jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def test_eight_devices_are_one_and_every_layer_learns(variables, batch):
    contrasting = dataclasses.replace(WAY, contrast=Contrast(alone=0.0, background=False))
    (one,), (eight,) = (
        list(_steps(contrasting, variables, batch, devices=devices)) for devices in (1, 8)
    )
    assert one[0]["contrastive_loss"] > 0.1
    for name, value in one[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert distance(eight[1], one[1]) < 1e-4 and distance(eight[2], one[2]) < 1e-5
    for path, leaf in jax.tree.leaves_with_path(one[1]):
        name = jax.tree_util.keystr(path)
        # Before a normalisation a bias moves nothing.
        assert np.abs(leaf).max() > 1e-6 or name == "['projector']['layer1']['bias']", name


def test_pseudo_labels_are_refreshed_at_their_times(variables, batch):
    """Of eight steps two are without contrast, and each of the three refreshes stays for two."""
    before, counts, kept = variables, [], []
    for metrics, _, collections in _steps(WAY, variables, batch, steps=8, num_steps=8):
        counts.append(int(metrics["refreshed"]))
        assert (metrics["contrastive_loss"] > 0) == (counts[-1] > 0)
        kept.append(collections["labeller"]["network"]["batch_stats"])
    assert counts == [0, 0, 1, 1, 2, 2, 3, 3]
    moved = [
        distance(new, old) > 0
        for old, new in zip([before["batch_stats"], *kept], kept, strict=False)
    ]
    assert moved == [False, False, True, False, True, False, True, False]


def test_marks_need_tokens_and_views_of_every_sample(variables, batch):
    alone = Segmentation(Contrast(weight=0.0), dataclasses.replace(WHOLE, crop_s=1.0))
    own = {name: variables[name] for name in ("params", "batch_stats")}
    with pytest.raises(
        InputError, match="--augmentation.crop-s 1.0: marks are of whole recordings"
    ):
        list(_steps(alone, own, batch))
    with pytest.raises(
        InputError, match="CompactResnet has 63 tokens for 250 samples; give --encoder unet1d"
    ):
        WAY.init(CompactResnet(widths=(8,)), jax.random.key(0), jnp.zeros((2, 250, 12)))


SHORT = LocalContrast(epochs=0, min_steps=4, save_every=2, batch_size=8, augmentation=WHOLE)


def _adapt(records, workdir, **changes):
    encoder = untrained_twin(Encoder(TINY, {}, Preprocessing()), seed=1)
    indices = records.split("train")[:12]
    config = describe("unet1d", TINY, encoder.preprocessing)
    settings, marks = dataclasses.replace(SHORT, **changes), read_marks(records, indices, 100.0)
    return encoder, settings.adapt(
        encoder, Labelled(records, indices, marks), Run(workdir, config, "waves")
    )


def _manifest(workdir) -> dict:
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def test_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(records, tmp_path):
    encoder, adapted = _adapt(records, tmp_path)
    whole = _manifest(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/4")
    _adapt(records, tmp_path)
    assert _manifest(tmp_path) == whole
    found = segment(adapted, encoder, records, records.split("test"), batch_size=16)
    assert found.shape == (len(records.split("test")), 1000) and set(np.unique(found)) <= {
        0,
        1,
        2,
        3,
    }


def test_supervised_alone_reads_no_other_recording(records, tmp_path, monkeypatch):
    read, plain = [], records.read
    monkeypatch.setattr(
        records, "read", lambda indices: read.append(np.ravel(indices)) or plain(indices)
    )
    _adapt(records, tmp_path, contrast=Contrast(weight=0.0))
    assert set(np.concatenate(read)) <= set(records.split("train")[:12])


def test_marks_follow_the_encoders_rate(records):
    stored = records.waves([0, 3])
    np.testing.assert_array_equal(read_marks(records, np.array([0, 3]), 100.0), stored)
    np.testing.assert_array_equal(read_marks(records, np.array([0, 3]), 50.0), stored[:, ::2])
    doubled = read_marks(records, np.array([0, 3]), 200.0)
    np.testing.assert_array_equal(doubled[:, ::2], stored)
    assert doubled.shape == (2, 2000)


def test_impossible_settings_are_refused():
    for wrong in (
        {"weight": -1.0},
        {"temperature": 0.0},
        {"per_wave": 0},
        {"alone": 1.0},
        {"refreshes": 0},
    ):
        with pytest.raises(InputError, match="give a weight of 0 or more"):
            Contrast(**wrong)
    with pytest.raises(InputError, match="--unlabelled 0: give 1 or more, or --contrast.weight 0"):
        LocalContrast(unlabelled=0)
    assert LocalContrast(unlabelled=0, contrast=Contrast(weight=0.0)).unlabelled == 0
    with pytest.raises(
        InputError, match="--augmentation.stretch 0.5: marks stay where they are; give 0"
    ):
        LocalContrast(augmentation=Augmentation(stretch=0.5))
