"""Local contrast: losses against their formulas, pseudo-labels, and training of a segmenter."""

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
from ecgjax.adapt.parts.segmenter import dice_loss, read_wave_labels, segment
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.augment import Augmentation
from ecgjax.encoders.compact_resnet import CompactResnet
from ecgjax.encoders.unet1d import Unet1d
from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, Preprocessor
from ecgjax.pretrained import Encoder, untrained_twin
from ecgjax.signals import UNMARKED
from ecgjax.train.checkpoint import find_checkpoint
from ecgjax.train.manifest import encoder_config
from ecgjax.train.sharding import data_mesh, place, replicated
from ecgjax.train.state import create_state, make_step
from ecgjax.workflows.targets import Waves

TINY = Unet1d(widths=(4, 8))
# Without the changes that take long to compile and do not concern wave labels (see test_augment).
NO_CHANGE = dataclasses.replace(
    LocalContrast().augmentation, crop_s=2.0, gain=0.0, noise_mv=0.0, wander_mv=0.0, time_out=0.0
)
OBJECTIVE = Segmentation(Contrast(alone=0.25, refreshes=3), NO_CHANGE)
PREPROCESSING = Preprocessing(seconds=2.5)


def _dice_loss(logits, labels):
    known = labels != UNMARKED
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    terms = []
    for k in range(4):
        truth = known & (labels == k)
        sizes = truth.sum() + probability[known][:, k].sum()
        terms.append(1 - 2 * probability[truth][:, k].sum() / (sizes + 1e-6))
    return np.mean(terms)


def _slopes(function, x, positions):
    """Returns central differences of a float64 function at some positions of x."""
    slopes = []
    for position in positions:
        step = np.zeros_like(x)
        step[position] = 1e-5
        slopes.append((function(x + step) - function(x - step)) / 2e-5)
    return np.array(slopes)


def test_dice_loss_equals_the_formula_and_its_gradient():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 20, 4))
    labels = rng.choice([0, 1, 2, 3, UNMARKED], (3, 20)).astype(np.uint8)
    value, gradient = jax.jit(jax.value_and_grad(dice_loss))(
        jnp.asarray(logits, jnp.float32), labels
    )
    np.testing.assert_allclose(value, _dice_loss(logits, labels), rtol=1e-5)
    positions = [tuple(rng.integers(size) for size in logits.shape) for _ in range(20)]
    expected = _slopes(lambda x: _dice_loss(x, labels), logits, positions)
    np.testing.assert_allclose(
        [gradient[position] for position in positions], expected, rtol=1e-3, atol=1e-6
    )
    assert not np.asarray(gradient)[labels == UNMARKED].any()
    assert np.abs(expected).max() > 1e-4


def _local_contrast(embeddings, labels, classes, temperature):
    """Computes the loss sample by sample, over all samples of the classes."""
    unit = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
    means = [
        {k: embeddings[r][labels[r] == k].mean(0) for k in classes if (labels[r] == k).any()}
        for r in range(len(labels))
    ]
    terms = []
    for r in range(len(labels)):
        for t, label in enumerate(labels[r]):
            if label not in classes:
                continue
            cosines = [
                {k: unit[r, t] @ mean / np.linalg.norm(mean) for k, mean in recording.items()}
                for recording in (means[r], means[r - 2])
            ]
            exponents = [np.exp(c / temperature) for each in cosines for c in each.values()]
            total = np.log(sum(exponents))
            terms += [total - each[label] / temperature for each in cosines if label in each]
    return np.mean(terms)


@pytest.mark.parametrize("classes", [(1, 2, 3), (0, 1, 2, 3)])
def test_local_contrast_equals_the_formula_and_its_gradient(classes):
    """All samples are drawn; one recording has no P wave, as in atrial fibrillation."""
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(4, 12, 5))
    labels = np.tile([0, 0, 1, 1, 2, 2, 3, 3, 0, UNMARKED, UNMARKED, 3], (4, 1))
    labels = rng.permuted(labels, axis=1)
    labels[2][labels[2] == 1] = UNMARKED
    loss = functools.partial(
        local_contrast,
        key=jax.random.key(0),
        classes=classes,
        shift=2,
        temperature=0.3,
        per_wave=12,
    )
    value, gradient = jax.jit(jax.value_and_grad(loss))(
        jnp.asarray(embeddings, jnp.float32), jnp.asarray(labels)
    )
    np.testing.assert_allclose(value, _local_contrast(embeddings, labels, classes, 0.3), rtol=1e-5)
    positions = [tuple(rng.integers(size) for size in embeddings.shape) for _ in range(25)]
    expected = _slopes(lambda x: _local_contrast(x, labels, classes, 0.3), embeddings, positions)
    np.testing.assert_allclose(
        [gradient[position] for position in positions], expected, rtol=2e-3, atol=1e-5
    )


def test_loss_of_three_drawn_samples_estimates_the_loss_of_all():
    labels = jnp.asarray(np.random.default_rng(2).integers(4, size=(3, 60)))
    embeddings = jax.random.normal(jax.random.key(3), (3, 60, 4))

    @functools.partial(jax.jit, static_argnums=1)
    def loss(seed, per_wave):
        key = jax.random.key(seed)
        return local_contrast(
            embeddings,
            labels,
            key,
            classes=(1, 2, 3),
            shift=1,
            temperature=1.0,
            per_wave=per_wave,
        )

    assert loss(0, 3) == loss(0, 3) != loss(1, 3)
    mean = np.mean([loss(seed, 3) for seed in range(100)])
    np.testing.assert_allclose(mean, loss(0, 60), rtol=0.03)


@pytest.fixture(scope="module")
def variables():
    variables = jax.jit(functools.partial(OBJECTIVE.init, TINY))(
        jax.random.key(0), jnp.zeros((2, 250, 12))
    )
    return {**variables, "labeller": {"network": variables, "refreshed": jnp.zeros((), jnp.int32)}}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(1)
    signal = rng.normal(0, 500, size=(8, 250, 12)).astype(np.int16)
    unlabelled = rng.normal(0, 500, size=(8, 1, 250, 12)).astype(np.int16)
    labels = np.repeat(rng.integers(4, size=(8, 25)), 10, axis=1).astype(np.uint8)
    return {"signal": signal, "unlabelled": unlabelled, "targets": labels}


def _steps(objective, variables, batch, *, devices=1, steps=1, num_steps=1):
    """Yields metrics, the last gradient and collections after each of `steps` jitted steps."""
    tx = optax.trace(decay=0.0)
    mesh = data_mesh(jax.devices()[:devices])
    loss = functools.partial(objective.loss, TINY, preprocess=Preprocessor(PREPROCESSING, 100.0))
    key = jax.device_put(jax.random.key(2), replicated(mesh))
    step_fn = make_step(loss, tx, mesh, num_steps=num_steps)
    state = create_state(variables, tx, mesh)
    for _ in range(steps):
        stack = place(jax.tree.map(lambda part: part[None], batch), mesh)
        state, metrics = step_fn(state, stack, key, None)
        yield jax.tree.map(np.asarray, (metrics, state.opt_state.trace, state.collections))


def test_step_on_eight_devices_equals_step_on_one_and_trains_every_layer(variables, batch):
    contrasting = dataclasses.replace(OBJECTIVE, contrast=Contrast(alone=0.0, background=False))
    (one,) = _steps(contrasting, variables, batch, devices=1)
    (eight,) = _steps(contrasting, variables, batch, devices=8)
    assert one[0]["contrastive_loss"] > 0.1
    for name, value in one[0].items():
        np.testing.assert_allclose(eight[0][name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert distance(eight[1], one[1]) < 1e-4 and distance(eight[2], one[2]) < 1e-5
    for path, leaf in jax.tree.leaves_with_path(one[1]):
        name = jax.tree_util.keystr(path)
        # A bias before a normalisation has no effect.
        assert np.abs(leaf).max() > 1e-6 or name == "['projector']['layer1']['bias']", name


def test_pseudo_labels_are_refreshed_on_schedule(variables, batch):
    """The first two of eight steps have no contrast; each of three refreshes is used for two."""
    counts = []
    copies = [variables["batch_stats"]]
    for metrics, _, collections in _steps(OBJECTIVE, variables, batch, steps=8, num_steps=8):
        counts.append(int(metrics["refreshed"]))
        assert (metrics["contrastive_loss"] > 0) == (counts[-1] > 0)
        copies.append(collections["labeller"]["network"]["batch_stats"])
    assert counts == [0, 0, 1, 1, 2, 2, 3, 3]
    changed = [distance(new, old) > 0 for old, new in zip(copies, copies[1:], strict=False)]
    assert changed == [False, False, True, False, True, False, True, False]


def test_wave_labels_are_cropped_with_the_signal():
    """Each sample of a signal has its number, and so has its label."""
    number = jnp.tile(jnp.arange(250)[None], (64, 1))
    signal = jnp.tile(number[..., None], (1, 1, 2)).astype(jnp.float32)
    crop = jax.jit(functools.partial(OBJECTIVE._crop, rate_hz=100.0))
    cropped, labels = crop((signal, number.astype(jnp.uint8)), jax.random.key(0))
    assert cropped.shape == (64, 200, 2) and labels.dtype == jnp.uint8
    np.testing.assert_array_equal(cropped[..., 1], labels)
    starts = np.unique(labels[:, 0])
    assert starts.min() < 5 and 45 < starts.max() <= 50 and len(starts) > 20
    for crop_s in (None, 3.0):
        whole = dataclasses.replace(OBJECTIVE.augmentation, crop_s=crop_s)
        kept = dataclasses.replace(OBJECTIVE, augmentation=whole)
        assert kept._crop((signal,), jax.random.key(0), 100.0)[0].shape == signal.shape


def test_wave_labels_need_a_token_for_every_sample():
    with pytest.raises(
        InputError, match="CompactResnet has 63 tokens for 250 samples; give --encoder unet1d"
    ):
        OBJECTIVE.init(CompactResnet(widths=(8,)), jax.random.key(0), jnp.zeros((2, 250, 12)))


SHORT = LocalContrast(epochs=0, min_steps=4, save_every=2, batch_size=8, augmentation=NO_CHANGE)


def _adapt(records, workdir, **changes):
    encoder = untrained_twin(Encoder(TINY, {}, Preprocessing()), seed=1)
    indices = records.split("train")[:12]
    config = encoder_config("unet1d", TINY, encoder.preprocessing)
    settings = dataclasses.replace(SHORT, **changes)
    labelled = Labelled(records, indices, read_wave_labels(records, indices, 100.0), Waves.outputs)
    return encoder, settings.adapt(encoder, labelled, Run(workdir, config, "waves"))


def _manifest(workdir) -> dict:
    return json.loads(next((find_checkpoint(workdir) / "manifest").glob("*.json")).read_text())


def test_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(records, tmp_path):
    encoder, adapted = _adapt(records, tmp_path)
    whole = _manifest(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints/4")
    _adapt(records, tmp_path)
    assert _manifest(tmp_path) == whole
    predicted = segment(adapted, encoder, records, records.split("test"), batch_size=16)
    assert predicted.shape == (len(records.split("test")), 1000)
    assert set(np.unique(predicted)) <= {0, 1, 2, 3}


def test_supervised_training_reads_no_unlabelled_recording(records, tmp_path, monkeypatch):
    batches = []
    original_read = records.read

    def read(indices):
        batches.append(np.ravel(indices))
        return original_read(indices)

    monkeypatch.setattr(records, "read", read)
    _adapt(records, tmp_path, contrast=Contrast(weight=0.0))
    assert set(np.concatenate(batches)) <= set(records.split("train")[:12])


def test_wave_labels_are_resampled_to_the_encoders_rate(records):
    stored = records.waves([0, 3])
    np.testing.assert_array_equal(read_wave_labels(records, np.array([0, 3]), 100.0), stored)
    np.testing.assert_array_equal(read_wave_labels(records, np.array([0, 3]), 50.0), stored[:, ::2])
    doubled = read_wave_labels(records, np.array([0, 3]), 200.0)
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
    with pytest.raises(InputError, match="--augmentation.crop-s 1: give 2 or more, so that a crop"):
        LocalContrast(augmentation=Augmentation(crop_s=1.0))
    with pytest.raises(
        InputError,
        match="--augmentation.stretch 0.5: wave labels are not stretched with the signal; give 0",
    ):
        LocalContrast(augmentation=Augmentation(stretch=0.5))
