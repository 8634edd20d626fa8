"""Properties of each augmentation: crops, Einthoven's law, spans, shares, amplitudes, draws."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax import augment
from ecgjax.adapt.local_contrast import LocalContrast
from ecgjax.augment import GENTLE_VIEWS, MEHARI_VIEWS, OFF, PLAIN_VIEWS, Augmentation
from ecgjax.errors import InputError
from ecgjax.objectives.adversarial import Adversarial
from ecgjax.objectives.lead_bootstrap import LeadBootstrap

KEYS = jax.random.split(jax.random.key(0), 500)
_RNG = np.random.default_rng(0)
SIGNAL = jnp.asarray(_RNG.normal(size=(300, 12)), jnp.float32)


def _draws(augmentation, signal=SIGNAL, **settings) -> np.ndarray:
    """One result for each key."""
    return np.asarray(jax.jit(jax.vmap(lambda key: augmentation(signal, key, **settings)))(KEYS))


NAMED = {
    "OFF": (OFF, set()),
    "GENTLE_VIEWS": (GENTLE_VIEWS, {"crop_s", "gain", "noise_mv", "wander_mv"}),
    "PLAIN_VIEWS": (PLAIN_VIEWS, {"crop_s"}),
    "MEHARI_VIEWS": (MEHARI_VIEWS, {"crop_s", "stretch", "time_out", "shortest_time_out"}),
    "adversarial, enhanced": (
        Adversarial().enhanced,
        {"crop_s", "lead_mask", "noise_mv", "wander_mv"},
    ),
    "adversarial, denoised": (Adversarial().denoised, {"crop_s", "lead_mask"}),
    "lead_bootstrap": (
        LeadBootstrap().augmentation,
        {"crop_s", "gain", "noise_mv", "wander_mv", "time_out"},
    ),
    "local_contrast": (LocalContrast().augmentation, {"crop_s", "gain", "noise_mv", "wander_mv"}),
}
"""Named recipes and the changes that they switch on."""


@pytest.mark.parametrize(("recipe", "switched_on"), NAMED.values(), ids=NAMED)
def test_a_named_recipe_switches_on_what_it_names_and_nothing_else(recipe, switched_on):
    """A new augmentation, whatever its default, must not change these recipes."""
    for field in dataclasses.fields(Augmentation):
        value = getattr(recipe, field.name)
        off = None if field.name == "crop_s" else 0
        assert (value != off) == (field.name in switched_on), field.name


def test_saved_settings_of_named_recipes_are_unchanged():
    """Checkpoints hold these values; a run resumes only if its settings equal the saved ones."""
    assert PLAIN_VIEWS.crop_s == 10.0 and LocalContrast().augmentation.crop_s == 5.0
    assert GENTLE_VIEWS.crop_s == MEHARI_VIEWS.crop_s == Augmentation().crop_s == 2.5


@pytest.mark.parametrize(
    "wrong", [{"crop_s": 0}, {"lead_mask": 2}, {"time_out": 1.5}, {"gain": float("nan")}]
)
def test_impossible_augmentations_are_refused(wrong):
    with pytest.raises(InputError, match="must be|most 1"):
        Augmentation(**wrong)


def test_a_crop_of_less_than_one_sample_is_refused():
    with pytest.raises(InputError, match="crop_s 0.001: less than a sample at 100 Hz"):
        Augmentation(crop_s=0.001).view(SIGNAL, KEYS[0], rate_hz=100.0)


def test_a_crop_is_a_piece_of_the_signal_and_every_start_occurs():
    position = jnp.arange(60.0)[:, None] + jnp.zeros((1, 12))
    pieces = _draws(augment.crop, position, samples=50)
    starts = pieces[:, 0, 0]
    np.testing.assert_array_equal(
        pieces, starts[:, None, None] + np.arange(50)[:, None] + np.zeros((1, 12))
    )
    assert set(starts) == set(range(11))
    assert np.bincount(starts.astype(int)).min() > 500 / 11 / 2


def test_a_crop_leaves_the_padding_out():
    """Missing samples are zeros; only the ones at the end of all leads are padding."""
    padded = SIGNAL.at[200:].set(0).at[:, 3].set(0).at[50:60].set(0)
    crops = _draws(augment.crop, padded, samples=40)
    assert (np.abs(crops[:, -1]).max(-1) > 0).mean() > 0.9  # the others end in the gap
    starts = {int(np.flatnonzero(np.asarray(padded)[:, 0] == crop[0, 0])[0]) for crop in crops}
    assert max(starts) == 160
    short = _draws(augment.crop, SIGNAL.at[30:].set(0), samples=40)
    assert (short == np.asarray(SIGNAL.at[30:].set(0))[:40]).all()


def test_leads_that_a_recording_lacks_stay_zero():
    """Noise there would tell training from use."""
    signal = SIGNAL.at[:, 4:].set(0)
    views = _draws(Augmentation(crop_s=2).view, signal, rate_hz=100)
    assert (views[..., 4:] == 0).all() and (views[..., :4] != 0).any((0, 1)).all()


def test_a_mask_of_all_leads_keeps_one_that_the_recording_has():
    signal = SIGNAL.at[:, 6:].set(0)
    views = _draws(augment.lead_mask, signal, most=1.0)
    kept = (views != 0).any(1)[:, :6].sum(1)
    assert kept.min() == 1 and kept.max() == 6


def test_stretch_preserves_order_and_all_samples_of_the_piece():
    """The view of a ramp never falls, and holds every sample between its first and its last."""
    position = jnp.arange(80.0)[:, None] + jnp.zeros((1, 2))
    views = _draws(augment.stretch, position, most=0.5)
    assert (views[..., 0] == views[..., 1]).all() and (np.diff(views[..., 0], axis=1) >= 0).all()
    first = views[:, 0, 0].round().astype(int)
    last = views[:, -1, 0].round().astype(int)
    np.testing.assert_allclose(views[:, [0, -1], 0], np.stack([first, last], 1), atol=1e-4)
    for view, start, end in zip(views[..., 0], first, last, strict=True):
        assert np.abs(view[:, None] - np.arange(start, end + 1)).min(0).max() < 1e-3
    share = (last - first + 1) / 80
    assert 0.49 < share.min() < 0.55 and 0.95 < share.max() <= 1 and abs(share.mean() - 0.75) < 0.03


def test_stretch_by_zero_returns_the_signal():
    np.testing.assert_allclose(_draws(augment.stretch, most=0.0)[0], SIGNAL, atol=1e-6)


def test_scale_preserves_einthovens_law():
    lead_i = SIGNAL[:, :1]
    lead_ii = SIGNAL[:, 1:2]
    leads = jnp.concatenate([lead_i, lead_ii, lead_ii - lead_i], axis=1)
    scaled = _draws(augment.scale, leads, spread=0.2)
    np.testing.assert_allclose(scaled[..., 2], scaled[..., 1] - scaled[..., 0], atol=1e-5)
    gains = np.log(scaled[:, 0, 0] / float(SIGNAL[0, 0]))
    assert abs(gains.mean()) < 0.03 and abs(gains.std() - 0.2) < 0.03


def test_wander_is_slow_and_bounded():
    added = _draws(augment.baseline_wander, jnp.zeros((1000, 12)), rate_hz=100, most_mv=0.1)
    assert 0.09 < np.abs(added).max() <= 0.1
    assert np.abs(np.diff(added, axis=1)).max() <= 0.1 * 2 * np.pi * 0.5 / 100 * 1.01
    assert np.ptp(added, axis=(1, 2)).min() > 0


def test_noise_is_white_and_normal_with_at_most_the_given_deviation():
    noise = _draws(augment.white_noise, jnp.zeros((301, 7)), most_mv=0.02)
    deviation = noise.std(axis=(1, 2))
    assert deviation.max() < 0.021 and abs(deviation.mean() - 0.01) < 0.001
    standard = noise / deviation[:, None, None]
    assert abs((standard**4).mean() - 3) < 0.1 and abs((standard**3).mean()) < 0.02
    between_samples = (standard[:, 1:] * standard[:, :-1]).mean()
    between_leads = (standard[..., 1:] * standard[..., :-1]).mean()
    assert abs(between_samples) < 0.01 and abs(between_leads) < 0.01


def test_time_out_spans_are_between_the_shortest_and_the_longest():
    share = (_draws(augment.time_out, longest=0.4, shortest=0.2) == 0).mean((1, 2))
    assert (
        0.195 < share.min() < 0.21 and 0.39 < share.max() < 0.405 and abs(share.mean() - 0.3) < 0.01
    )


def test_time_out_silences_one_span_of_all_leads():
    silenced = _draws(augment.time_out, longest=0.25) == 0
    assert (silenced.all(axis=2) == silenced.any(axis=2)).all()
    spans = silenced[..., 0].sum(1)
    edges = np.abs(np.diff(silenced[..., 0].astype(int), axis=1)).sum(1)
    assert spans.max() <= 75 and abs(spans.mean() - 37.5) < 5 and edges.max() <= 2
    assert silenced[:, :10].any() and silenced[:, -10:].any()


def test_lead_mask_silences_whole_leads_with_a_share_per_view():
    masked = _draws(augment.lead_mask, most=0.5)
    silent = (masked == 0).all(axis=1)
    np.testing.assert_array_equal(masked, np.where(silent[:, None], 0, SIGNAL))
    assert abs(silent.mean() - 0.25) < 0.02
    # Each view draws its own share, so the variance exceeds that of one common share.
    assert silent.sum(1).var() > 1.2 * 12 * 0.25 * 0.75
    assert (silent.mean(0) > 0.2).all()


def test_a_view_without_changes_is_a_crop_and_a_long_crop_is_the_recording():
    views = _draws(dataclasses.replace(OFF, crop_s=2.5).view, rate_hz=100)
    assert views.shape == (500, 250, 12)
    starts = [int(np.flatnonzero((np.asarray(SIGNAL) == view[0]).all(1))[0]) for view in views[:20]]
    for view, start in zip(views, starts, strict=False):
        np.testing.assert_array_equal(view, SIGNAL[start : start + 250])
    for crop_s in (60, None):
        whole = dataclasses.replace(OFF, crop_s=crop_s).view(SIGNAL, KEYS[0], rate_hz=100)
        np.testing.assert_array_equal(whole, SIGNAL)


@pytest.mark.parametrize("name", ["gain", "noise_mv", "wander_mv", "time_out", "lead_mask"])
def test_each_setting_alone_changes_the_view(name):
    changed = dataclasses.replace(OFF, crop_s=3, **{name: 0.5}).view(SIGNAL, KEYS[3], rate_hz=100)
    assert changed.shape == SIGNAL.shape and not np.allclose(changed, SIGNAL)


def test_each_view_has_its_own_draw_and_ignores_the_others():
    views = jax.jit(lambda signals, key: Augmentation().views(signals, key, rate_hz=100))
    signals = jnp.stack([SIGNAL] * 4)
    result = views(signals, KEYS[0])
    assert result.shape == (4, 250, 12) and result.dtype == jnp.float32
    np.testing.assert_array_equal(result, views(signals, KEYS[0]))
    assert not np.allclose(result, views(signals, KEYS[1]))
    assert not np.allclose(result[0], result[1])
    others = views(signals.at[1:].set(0), KEYS[0])
    np.testing.assert_array_equal(result[0], others[0])
