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
    [(500, 100), (250, 100), (400, 100), (257, 100), (100, 250), (500, 409.6), (100, 100)],
)
def test_resample_equals_scipy(from_hz, to_hz):
    signal = _RNG.normal(size=(2, 3 * int(from_hz), 12)).astype(np.float32)
    up, down = rate_ratio(from_hz, to_hz)
    expected = scipy.signal.resample_poly(signal.astype(np.float64), up, down, axis=1)
    resampled = jax.jit(lambda signal: resample(signal, from_hz=from_hz, to_hz=to_hz))(signal)
    assert resampled.shape == (2, 3 * to_hz if to_hz != 409.6 else 1229, 12)
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
    signal = np.asarray(preprocess(stored, Preprocessing(), rate_hz=100))
    expected = np.where(stored == MISSING, 0, np.clip(stored * 1e-3, -5, 5))
    np.testing.assert_allclose(signal, expected, atol=1e-6)
    assert signal.dtype == np.float32


def test_leads_are_selected_in_the_given_order():
    stored = _stored()
    two_leads = preprocess(stored, Preprocessing(leads=("V6", "II")), rate_hz=100)
    all_leads = preprocess(stored, Preprocessing(), rate_hz=100)
    np.testing.assert_array_equal(two_leads, all_leads[..., np.array([11, 1])])


@pytest.mark.parametrize(
    ("normalisation", "axes"), [("zscore_lead", (1,)), ("zscore_recording", (1, 2))]
)
def test_normalisation_gives_unit_variance_and_leaves_flat_leads_flat(normalisation, axes):
    stored = _stored()
    preprocessing = Preprocessing(normalisation=normalisation)
    signal = np.asarray(preprocess(stored, preprocessing, rate_hz=100))
    np.testing.assert_allclose(signal.mean(axes), 0, atol=1e-5)
    flat = np.zeros_like(signal.std(axes), bool)
    if normalisation == "zscore_lead":
        flat[1, 7] = True
        assert (signal[1, :, 7] == 0).all()
    np.testing.assert_allclose(signal.std(axes)[~flat], 1, atol=1e-5)


def test_the_number_for_missing_samples_never_reaches_the_resampling_filter():
    """A gap does not raise the amplitude around it."""
    time = np.arange(5000) / 500
    stored = np.repeat((1000 * np.sin(2 * np.pi * 5 * time)).astype(np.int16)[:, None], 12, axis=1)
    stored[2000:2050] = MISSING
    assert np.abs(preprocess(stored, Preprocessing(), rate_hz=500)).max() < 1.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rate_hz": 0}, "must be positive"),
        ({"seconds": -1}, "must be positive"),
        ({"clip_mv": float("nan")}, "must be positive"),
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
