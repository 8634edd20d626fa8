"""Physical units, and resampling against SciPy."""

import jax
import numpy as np
import pytest
import scipy.signal

from ecgjax.errors import InputError
from ecgjax.preprocessing import Preprocessing, preprocess, resample
from ecgjax.signals import MISSING, rate_ratio

_RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [
        (500, 100),
        (250, 100),
        (400, 100),
        (257, 100),
        (100, 250),
        (500, 409.6),
        (100, 100),
        (976.5625, 500),
        (488.28125, 500),
        (333.333333, 100),
        (499.9999, 500),
    ],
)
def test_resample_equals_scipy(from_hz, to_hz):
    signal = _RNG.normal(size=(2, round(3 * from_hz), 12)).astype(np.float32)
    up, down = rate_ratio(from_hz, to_hz)
    expected = scipy.signal.resample_poly(signal.astype(np.float64), up, down, axis=1)
    resampled = jax.jit(lambda signal: resample(signal, from_hz=from_hz, to_hz=to_hz))(signal)
    assert resampled.shape[::2] == (2, 12) and 0 <= resampled.shape[1] - 3 * to_hz < 2
    np.testing.assert_allclose(resampled, expected, atol=5e-6)


def test_resample_takes_any_batch_shape():
    signal = _RNG.normal(size=(2, 3, 250, 12)).astype(np.float32)
    resampled = resample(signal, from_hz=250, to_hz=100)
    single = resample(signal[1, 2], from_hz=250, to_hz=100)
    np.testing.assert_array_equal(resampled[1, 2], single)


def _stored() -> np.ndarray:
    signal = _RNG.integers(-3000, 3000, size=(2, 1000, 12)).astype(np.int16)
    signal[0, 10:20, 3] = MISSING
    signal[1, :, 7] = MISSING
    signal[0, 500, 0] = 32767
    signal[0, 501, 0] = -32767
    return signal


def test_values_become_clipped_millivolts_and_missing_samples_zero():
    stored = _stored()
    signal = np.asarray(preprocess(stored, Preprocessing(baseline="none"), rate_hz=100))
    expected = np.where(stored == MISSING, 0, np.clip(stored * 1e-3, -5, 5))
    np.testing.assert_allclose(signal, expected, atol=1e-6)
    assert signal.dtype == np.float32


def test_leads_are_selected_in_the_given_order():
    stored = _stored()
    two_leads = preprocess(stored, Preprocessing(leads=("V6", "II")), rate_hz=100)
    all_leads = preprocess(stored, Preprocessing(), rate_hz=100)
    np.testing.assert_allclose(two_leads, all_leads[..., np.array([11, 1])], atol=1e-6)


@pytest.mark.parametrize(
    ("normalisation", "axes"), [("zscore_lead", (1,)), ("zscore_recording", (1, 2))]
)
@pytest.mark.parametrize("baseline", ["none", "high_pass"])
def test_normalised_leads_have_unit_variance_and_flat_ones_stay_flat(normalisation, axes, baseline):
    stored = _stored()
    preprocessing = Preprocessing(normalisation=normalisation, baseline=baseline)
    signal = np.array(preprocess(stored, preprocessing, rate_hz=100))
    present = np.ones_like(stored, bool)
    if baseline != "none":  # missing samples are 0, and count for nothing
        present = stored != MISSING
        assert (signal[~present] == 0).all()
    flat = np.zeros_like(signal.std(axes), bool)
    if normalisation == "zscore_lead":
        flat[1, 7] = True
        assert (signal[1, :, 7] == 0).all()
    valid = np.ma.masked_where(~present, signal)
    np.testing.assert_allclose(valid.mean(axes)[~flat], 0, atol=1e-5)
    np.testing.assert_allclose(valid.std(axes)[~flat], 1, atol=1e-5)


def test_the_number_for_missing_samples_never_reaches_the_resampling_filter():
    """A gap does not raise the amplitude around it."""
    time = np.arange(5000) / 500
    stored = np.repeat((1000 * np.sin(2 * np.pi * 5 * time)).astype(np.int16)[:, None], 12, axis=1)
    stored[2000:2050] = MISSING
    assert np.abs(preprocess(stored, Preprocessing(), rate_hz=500)).max() < 1.3


def _ecg_uv(rate_hz: int, seconds: int = 10) -> np.ndarray:
    """Makes beats with a period of 0.8 s, another shape in each lead: float64 [1, time, 12]."""
    time = np.arange(seconds * rate_hz) / rate_hz
    phase = np.mod(time, 0.8)[:, None] - 0.3
    width_s = np.linspace(0.01, 0.03, 12)
    return 1000 * np.exp(-((phase / width_s) ** 2))[None]


def _slow_reference(value_uv: np.ndarray, rate_hz: int) -> np.ndarray:
    """Averages 0.1-s blocks with a triangle of 1 s, sample by sample, without gaps; one lead."""
    block = rate_hz // 10
    centres_s = (np.arange(len(value_uv) // block) + 0.5) * 0.1 - 0.5 / rate_hz
    means = value_uv.reshape(-1, block).mean(1)
    averages = []
    for centre_s in centres_s:
        weights = np.clip(1 - np.abs(centres_s - centre_s), 0, None)
        averages.append((weights * means).sum() / weights.sum())
    return np.interp(np.arange(len(value_uv)) / rate_hz, centres_s, averages)


@pytest.mark.parametrize("rate_hz", [100, 500])
def test_the_baselines_equal_float64_references(rate_hz):
    value_uv = np.rint(_ecg_uv(rate_hz) + 3000 * np.linspace(-1, 1, 10 * rate_hz)[None, :, None])
    lead_uv = value_uv[0, :, 4]
    expected_uv = {
        "mean": lead_uv.mean(),
        "median": np.median(lead_uv),
        "high_pass": _slow_reference(lead_uv, rate_hz),
    }
    for baseline, level_uv in expected_uv.items():
        preprocessing = Preprocessing(rate_hz=rate_hz, baseline=baseline)
        signal = preprocess(value_uv.astype(np.int16), preprocessing, rate_hz=rate_hz)
        np.testing.assert_allclose(signal[0, :, 4], (lead_uv - level_uv) / 1e3, atol=1e-5)


@pytest.mark.parametrize("baseline", ["mean", "median", "high_pass"])
@pytest.mark.parametrize("rate_hz", [100, 500])
def test_offsets_change_nothing(baseline, rate_hz):
    stored = np.rint(_ecg_uv(rate_hz)).astype(np.int16)
    stored[:, 3 * rate_hz : 4 * rate_hz] = MISSING
    offset_uv = np.linspace(-30_000, 30_000, 12).astype(np.int16)
    moved = np.where(stored == MISSING, MISSING, stored + offset_uv)
    preprocessing = Preprocessing(baseline=baseline)
    expected = preprocess(stored, preprocessing, rate_hz=rate_hz)
    signal = preprocess(moved.astype(np.int16), preprocessing, rate_hz=rate_hz)
    np.testing.assert_allclose(signal, expected, atol=2e-5)


@pytest.mark.parametrize("baseline", ["mean", "median", "high_pass"])
def test_missing_samples_do_not_move_the_baseline(baseline):
    """Filling up a recording with missing samples leaves the rest as it is."""
    stored = np.rint(_ecg_uv(100, seconds=8)).astype(np.int16)
    padded = np.full((1, 1000, 12), MISSING, np.int16)
    padded[:, :800] = stored
    preprocessing = Preprocessing(baseline=baseline)
    signal = preprocess(padded, preprocessing, rate_hz=100)
    expected = preprocess(stored, preprocessing, rate_hz=100)
    np.testing.assert_allclose(signal[:, :800], expected, atol=5e-4)
    assert (signal[:, 800:] == 0).all()


def test_high_pass_removes_wander_and_keeps_the_beats_at_every_rate():
    for rate_hz in (100, 500):
        time = np.arange(10 * rate_hz)[None, :, None] / rate_hz
        ecg_uv = _ecg_uv(rate_hz)
        wander_uv = 1000 * np.sin(2 * np.pi * 0.2 * time)
        signals = [
            preprocess(np.rint(uv).astype(np.int16), Preprocessing(), rate_hz=rate_hz)
            for uv in (ecg_uv, ecg_uv + wander_uv)
        ]
        inner = slice(100, -100)
        assert np.abs(signals[1] - signals[0])[:, inner].max() < 0.2
        assert signals[1][:, inner].max() > 0.8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate_hz": 0}, "must be positive"),
        ({"seconds": -1}, "must be positive"),
        ({"clip_mv": float("nan")}, "must be positive"),
        ({"window_s": 0.004}, "must last a sample or more"),
        ({"baseline": "mode"}, "'mode'; give none, mean, median, high_pass"),
        ({"normalisation": "max"}, "'max'; give none, zscore_lead, zscore_recording"),
        ({"leads": ()}, "leads .none.; give one or more, each once"),
        ({"leads": ("I", "I")}, "leads I I; give one or more, each once"),
        ({"leads": ("I", "V7", "X")}, "unknown lead V7, X"),
    ],
)
def test_impossible_preprocessing_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Preprocessing(**fields)


def test_the_number_of_samples_follows_rate_and_length():
    assert Preprocessing(rate_hz=409.6).samples == 4096
