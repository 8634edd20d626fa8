"""What each augmentation promises: pieces of the signal, Einthoven's law, spans, shares, amplitudes, one draw a key."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecgjax import augment
from ecgjax.augment import Augmentation
from ecgjax.errors import InputError

KEYS = jax.random.split(jax.random.key(0), 500)
_RNG = np.random.default_rng(0)
SIGNAL = jnp.asarray(_RNG.normal(size=(300, 12)), jnp.float32)
OFF = Augmentation(lead_mask=0, gain=0, noise_mv=0, wander_mv=0, time_out=0)


def _draws(augmentation, signal=SIGNAL, **settings) -> np.ndarray:
    """One result a key."""
    return np.asarray(jax.jit(jax.vmap(lambda key: augmentation(signal, key, **settings)))(KEYS))


@pytest.mark.parametrize(
    "wrong", [{"crop_s": 0}, {"lead_mask": 2}, {"time_out": 1.5}, {"gain": float("nan")}]
)
def test_impossible_augmentations_are_refused(wrong):
    with pytest.raises(InputError, match="must be|most 1"):
        Augmentation(**wrong)


def test_a_crop_of_no_sample_is_refused():
    with pytest.raises(InputError, match="crop_s 0.001: less than a sample at 100 Hz"):
        Augmentation(crop_s=0.001).view(SIGNAL, KEYS[0], rate_hz=100.0)


def test_crop_is_a_piece_and_every_start_occurs():
    position = jnp.arange(60.0)[:, None] + jnp.zeros((1, 12))
    pieces = _draws(augment.crop, position, samples=50)
    starts = pieces[:, 0, 0]
    np.testing.assert_array_equal(
        pieces, starts[:, None, None] + np.arange(50)[:, None] + np.zeros((1, 12))
    )
    assert set(starts) == set(range(11))
    assert np.bincount(starts.astype(int)).min() > 500 / 11 / 2


def test_stretch_keeps_the_order_of_a_piece_and_all_its_samples():
    """Of a ramp: the view never falls, starts and ends within it, and holds every sample in between."""
    position = jnp.arange(80.0)[:, None] + jnp.zeros((1, 2))
    views = _draws(augment.stretch, position, most=0.5)
    assert (views[..., 0] == views[..., 1]).all() and (np.diff(views[..., 0], axis=1) >= 0).all()
    first, last = views[:, 0, 0].round().astype(int), views[:, -1, 0].round().astype(int)
    np.testing.assert_allclose(views[:, [0, -1], 0], np.stack([first, last], 1), atol=1e-4)
    for view, start, end in zip(views[..., 0], first, last, strict=True):
        assert np.abs(view[:, None] - np.arange(start, end + 1)).min(0).max() < 1e-3
    share = (last - first + 1) / 80
    assert 0.49 < share.min() < 0.55 and 0.95 < share.max() <= 1 and abs(share.mean() - 0.75) < 0.03


def test_stretch_of_nothing_is_the_signal():
    np.testing.assert_allclose(_draws(augment.stretch, most=0.0)[0], SIGNAL, atol=1e-6)


def test_scale_keeps_einthovens_law():
    i, ii = SIGNAL[:, :1], SIGNAL[:, 1:2]
    scaled = _draws(augment.scale, jnp.concatenate([i, ii, ii - i], axis=1), spread=0.2)
    np.testing.assert_allclose(scaled[..., 2], scaled[..., 1] - scaled[..., 0], atol=1e-5)
    gains = np.log(scaled[:, 0, 0] / float(SIGNAL[0, 0]))
    assert abs(gains.mean()) < 0.03 and abs(gains.std() - 0.2) < 0.03


def test_wander_is_slow_and_bounded():
    added = _draws(augment.baseline_wander, jnp.zeros((1000, 12)), rate_hz=100, most_mv=0.1)
    assert 0.09 < np.abs(added).max() <= 0.1
    assert np.abs(np.diff(added, axis=1)).max() <= 0.1 * 2 * np.pi * 0.5 / 100 * 1.01
    assert np.ptp(added, axis=(1, 2)).min() > 0


def test_noise_is_white_normal_and_up_to_the_level_asked_for():
    noise = _draws(augment.white_noise, jnp.zeros((301, 7)), most_mv=0.02)
    deviation = noise.std(axis=(1, 2))
    assert deviation.max() < 0.021 and abs(deviation.mean() - 0.01) < 0.001
    standard = noise / deviation[:, None, None]
    assert abs((standard**4).mean() - 3) < 0.1 and abs((standard**3).mean()) < 0.02
    neighbours = (
        (standard[:, 1:] * standard[:, :-1]).mean(),
        (standard[..., 1:] * standard[..., :-1]).mean(),
    )
    assert np.abs(neighbours).max() < 0.01


def test_time_out_is_as_long_as_asked_for():
    share = (_draws(augment.time_out, longest=0.4, shortest=0.2) == 0).mean((1, 2))
    assert (
        0.195 < share.min() < 0.21 and 0.39 < share.max() < 0.405 and abs(share.mean() - 0.3) < 0.01
    )


def test_time_out_is_one_silent_span_of_all_leads():
    silenced = _draws(augment.time_out, longest=0.25) == 0
    assert (silenced.all(axis=2) == silenced.any(axis=2)).all()
    spans, edges = (
        silenced[..., 0].sum(1),
        np.abs(np.diff(silenced[..., 0].astype(int), axis=1)).sum(1),
    )
    assert spans.max() <= 75 and abs(spans.mean() - 37.5) < 5 and edges.max() <= 2
    assert silenced[:, :10].any() and silenced[:, -10:].any()


def test_lead_mask_silences_whole_leads_by_the_share():
    masked = _draws(augment.lead_mask, most=0.5)
    silent = (masked == 0).all(axis=1)
    np.testing.assert_array_equal(masked, np.where(silent[:, None], 0, SIGNAL))
    assert abs(silent.mean() - 0.25) < 0.02
    # A share is drawn a view, so views differ more than by one coin for all of them.
    assert silent.sum(1).var() > 1.2 * 12 * 0.25 * 0.75
    assert (silent.mean(0) > 0.2).all()


def test_view_switched_off_is_a_crop_and_a_long_crop_the_recording():
    views = _draws(OFF.view, rate_hz=100)
    assert views.shape == (500, 250, 12)
    starts = [int(np.flatnonzero((np.asarray(SIGNAL) == view[0]).all(1))[0]) for view in views[:20]]
    for view, start in zip(views, starts, strict=False):
        np.testing.assert_array_equal(view, SIGNAL[start : start + 250])
    whole = dataclasses.replace(OFF, crop_s=60).view(SIGNAL, KEYS[0], rate_hz=100)
    np.testing.assert_array_equal(whole, SIGNAL)


@pytest.mark.parametrize("name", ["gain", "noise_mv", "wander_mv", "time_out", "lead_mask"])
def test_each_setting_alone_changes_the_view(name):
    changed = dataclasses.replace(OFF, crop_s=3, **{name: 0.5}).view(SIGNAL, KEYS[3], rate_hz=100)
    assert changed.shape == SIGNAL.shape and not np.allclose(changed, SIGNAL)


def test_views_are_one_draw_a_key_and_independent_of_their_neighbours():
    views = jax.jit(lambda signals, key: Augmentation().views(signals, key, rate_hz=100))
    signals = jnp.stack([SIGNAL] * 4)
    found = views(signals, KEYS[0])
    assert found.shape == (4, 250, 12) and found.dtype == jnp.float32
    np.testing.assert_array_equal(found, views(signals, KEYS[0]))
    assert not np.allclose(found, views(signals, KEYS[1]))
    assert not np.allclose(found[0], found[1])
    others = views(signals.at[1:].set(0), KEYS[0])
    np.testing.assert_array_equal(found[0], others[0])
