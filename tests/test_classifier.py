"""Classifiers: windows, a linear probe as a head, and fine-tuning from given weights."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import CROPS

import ecgjax
from ecgjax import encoders
from ecgjax.adapt import linear_probe
from ecgjax.adapt.finetune import FineTuning
from ecgjax.adapt.linear_probe import LinearProbing
from ecgjax.adapt.parts.classifier import trained_model
from ecgjax.adapt.parts.training import Labelled, Run
from ecgjax.errors import InputError
from ecgjax.outputs import Outputs
from ecgjax.preprocessing import Preprocessing, cut_windows
from ecgjax.pretrained import untrained, untrained_twin
from ecgjax.train.manifest import encoder_config


@pytest.fixture(scope="module")
def encoder(workdir):
    return ecgjax.load(workdir)


@pytest.fixture(scope="module")
def labelled(records):
    """Twenty recordings with two classes: parity of the patient's number, and random."""
    indices = records.split("train")[:20]
    rng = np.random.default_rng(0)
    targets = np.stack([records.patients[indices] % 2, rng.integers(2, size=20)], axis=1)
    return indices, targets.astype(np.float32)


OUTPUTS = Outputs("parity", "labels", ("parity", "random"))


def predict(adapted, encoder, records, indices, *, batch_size):
    labelled = Labelled(records, indices, np.zeros((len(indices), 2), np.float32), OUTPUTS)
    model = trained_model(adapted, encoder, labelled, encoder.config)
    return model.predict_records(records, indices, batch_size=batch_size)


def _config(encoder):
    return {
        **encoder_config("compact_resnet", encoder.module, encoder.preprocessing),
        "task": "parity",
    }


@pytest.mark.parametrize(
    ("window_s", "count"), [(2.5, 7), (3.0, 6), (7.3, 2), (None, 1), (10.0, 1), (20.0, 1)]
)
def test_windows_cover_the_recording(window_s, count):
    position = np.arange(1000.0)[None, :, None] + np.zeros((2, 1, 12))
    windows = np.asarray(cut_windows(position, window_s, rate_hz=100))
    length = min(round((window_s or 10) * 100), 1000)
    assert windows.shape == (2, count, length, 12)
    starts = windows[0, :, 0, 0]
    np.testing.assert_array_equal(windows[1, :, :, 5], starts[:, None] + np.arange(length))
    assert set(windows[0, ..., 0].ravel()) == set(range(1000))
    assert (np.diff(starts) <= length // 2).all()


@pytest.fixture(scope="module")
def probed(encoder, records, labelled, tmp_path_factory):
    indices, targets = labelled
    workdir = tmp_path_factory.mktemp("probe")
    adapted = LinearProbing().adapt(
        encoder,
        Labelled(records, indices, targets, OUTPUTS),
        Run(workdir, _config(encoder), "probe"),
    )
    return adapted, workdir


def test_probe_as_a_classifier_has_the_probes_scores(encoder, records, labelled, probed):
    indices, targets = labelled
    adapted, _ = probed
    test = records.split("test")
    probe = linear_probe.fit(
        encoder.embed_records(records, indices), targets, records.patients[indices], seed=0
    )
    expected = 1 / (1 + np.exp(-probe.scores(encoder.embed_records(records, test))))
    probabilities = predict(adapted, encoder, records, test, batch_size=16)
    np.testing.assert_allclose(probabilities, expected, atol=2e-5)
    assert np.ptp(probabilities[:, 0]) > 0.01


def test_encoder_without_batch_statistics_is_adapted_and_saved(
    records, labelled, tmp_path, monkeypatch
):
    monkeypatch.setitem(
        encoders.ENCODERS, "vit1d", encoders.ENCODERS["vit1d"].clone(width=16, layers=1, heads=2)
    )
    indices, targets = labelled
    encoder = untrained("vit1d", Preprocessing(), seed=0)
    config = {**encoder_config("vit1d", encoder.module, encoder.preprocessing), "task": "parity"}
    fine_tuning = FineTuning(min_steps=3, epochs=0, augmentation=SHORT.augmentation)
    for method in (LinearProbing(), fine_tuning):
        workdir = tmp_path / type(method).__name__
        run = Run(workdir, config, "vit")
        adapted = method.adapt(encoder, Labelled(records, indices, targets, OUTPUTS), run)
        probabilities = predict(adapted, encoder, records, indices[:4], batch_size=4)
        assert np.isfinite(probabilities).all()
        assert not np.array_equal(probabilities[0], probabilities[1])
        loaded = ecgjax.load(workdir)
        np.testing.assert_array_equal(
            predict(adapted, loaded, records, indices[:4], batch_size=4), probabilities
        )


def test_probe_does_not_change_the_encoder(encoder, probed):
    adapted, workdir = probed
    for name, tree in adapted.variables.items():
        jax.tree.map(np.testing.assert_array_equal, tree["encoder"], encoder.variables[name])
    jax.tree.map(np.testing.assert_array_equal, ecgjax.load(workdir).variables, encoder.variables)


def test_probe_refuses_the_workdir_of_another_run(encoder, records, labelled, probed):
    indices, targets = labelled
    _, workdir = probed
    with pytest.raises(InputError, match="task was parity, now other"):
        other = Run(workdir, {**_config(encoder), "task": "other"}, "probe")
        LinearProbing().adapt(encoder, Labelled(records, indices, targets, OUTPUTS), other)


# With 20 labelled recordings and 8 devices a batch has 16 recordings.
SHORT = FineTuning(
    epochs=0,
    min_steps=3,
    batch_size=24,
    dropout=0.0,
    augmentation=dataclasses.replace(CROPS, crop_s=1.0, lead_mask=0),
)


def _fine_tune(encoder, records, labelled, workdir, **changes):
    indices, targets = labelled
    settings = dataclasses.replace(SHORT, **changes)
    return settings.adapt(
        encoder,
        Labelled(records, indices, targets, OUTPUTS),
        Run(workdir, _config(encoder), "parity"),
    )


def test_fine_tuning_starts_from_the_given_weights(encoder, records, labelled, tmp_path):
    """An encoder with a learning rate of 0 has its initial weights at the end."""
    random = dataclasses.replace(untrained_twin(encoder), restored=1)
    for number, start in enumerate((encoder, random)):
        adapted = _fine_tune(start, records, labelled, tmp_path / str(number), encoder_rate=0.0)
        jax.tree.map(
            np.testing.assert_array_equal,
            adapted.variables["params"]["encoder"],
            start.variables["params"],
        )
        assert np.abs(adapted.variables["params"]["head"]["kernel"]).max() > 1e-4


@pytest.mark.parametrize("kind", ["labels", "classes"])
def test_new_head_starts_with_the_share_of_each_output(encoder, records, tmp_path, kind):
    """A training that hardly moves predicts the shares, which are counted from known targets."""
    indices = records.split("train")[:20]
    targets = np.zeros((20, 3), np.float32)
    targets[:2, 0] = 1
    targets[2:, 1] = 1
    if kind == "labels":
        targets[10:, 2] = np.nan
    outputs = Outputs("share", kind, ("rare", "common", "absent"))
    still = dataclasses.replace(SHORT.optimizer, learning_rate=1e-12)
    settings = dataclasses.replace(SHORT, optimizer=still, min_steps=1)
    labelled = Labelled(records, indices, targets, outputs)
    adapted = settings.adapt(
        untrained_twin(encoder), labelled, Run(tmp_path, _config(encoder), "share")
    )
    model = trained_model(adapted, encoder, labelled, encoder.config)
    found = model.predict_records(records, indices)
    share = np.array([2.5 / 21, 18.5 / 21, (0.5 / 11 if kind == "labels" else 0.5 / 21)])
    expected = share if kind == "labels" else share / share.sum()
    np.testing.assert_allclose(found, np.tile(expected, (20, 1)), rtol=1e-4)


def test_start_bias_of_numbers_is_zero():
    targets = np.float32([[50.0, 1.0], [70.0, np.nan]])
    outputs = Outputs("body", "numbers", ("age", "weight")).fitted(targets)
    np.testing.assert_array_equal(outputs.start_bias(targets), [0, 0])


def _largest_change(encoder, adapted) -> float:
    before = encoder.variables["params"]
    after = adapted.variables["params"]["encoder"]
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)))


def test_pre_trained_encoder_changes_less_than_one_from_scratch(
    encoder, records, labelled, tmp_path
):
    trained = _fine_tune(encoder, records, labelled, tmp_path / "trained", encoder_rate=0.1)
    untrained = dataclasses.replace(encoder, restored=0)
    scratch = _fine_tune(untrained, records, labelled, tmp_path / "scratch", encoder_rate=0.1)
    assert 0 < _largest_change(encoder, trained) < 0.2 * _largest_change(encoder, scratch)


def test_encoder_rate_is_a_tenth_with_few_labels(encoder):
    """The default. A given rate holds for any number of labels; from scratch it is always 1."""
    untrained = dataclasses.replace(encoder, restored=0)
    numbers = (1, 999, 1000, 17_084)
    assert [FineTuning().rate(encoder, number) for number in numbers] == [0.1, 0.1, 1.0, 1.0]
    assert {FineTuning(encoder_rate=0.0).rate(encoder, number) for number in numbers} == {0.0}
    assert {FineTuning(encoder_rate=0.3).rate(untrained, number) for number in numbers} == {1.0}


def test_probabilities_are_means_over_windows_and_do_not_depend_on_the_batch(
    encoder, records, labelled, tmp_path
):
    adapted = _fine_tune(encoder, records, labelled, tmp_path)
    test = records.split("test")
    probabilities = predict(adapted, encoder, records, test, batch_size=16)
    assert probabilities.shape == (len(test), 2)
    assert (probabilities > 0).all() and (probabilities < 1).all()
    last_three = predict(adapted, encoder, records, test[-3:], batch_size=16)
    np.testing.assert_allclose(last_three, probabilities[-3:], atol=1e-6)
    whole_recording = dataclasses.replace(adapted, window_s=None)
    whole = predict(whole_recording, encoder, records, test, batch_size=16)
    assert not np.allclose(whole, probabilities, atol=1e-4)


def test_workdir_of_a_run_from_other_weights_is_refused(encoder, records, labelled, tmp_path):
    _fine_tune(encoder, records, labelled, tmp_path)
    with pytest.raises(
        InputError, match=f"start_weights was {encoder.fingerprint}, now random weights"
    ):
        _fine_tune(untrained_twin(encoder), records, labelled, tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"encoder_rate": -0.1}, {"epochs": float("nan")}, {"min_steps": 0}]
)
def test_impossible_training_is_refused(wrong):
    with pytest.raises(
        InputError, match="give an encoder_rate and epochs of 0 or more, and min_steps"
    ):
        FineTuning(**wrong)


def test_dropout_of_everything_is_refused(encoder, records, labelled, tmp_path):
    with pytest.raises(InputError, match="dropout 1.0: give a rate from 0 to below 1"):
        _fine_tune(encoder, records, labelled, tmp_path, dropout=1.0)


def test_batches_that_do_not_fit_the_devices_are_refused(encoder, records, labelled, tmp_path):
    indices, targets = labelled
    few = (indices[:4], targets[:4])
    with pytest.raises(InputError, match="4 labelled recordings over 8 devices"):
        _fine_tune(encoder, records, few, tmp_path)
    with pytest.raises(InputError, match="batch of 12 over 8 devices"):
        _fine_tune(encoder, records, labelled, tmp_path, batch_size=12)
