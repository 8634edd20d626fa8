"""Filters of published encoders have the values of the published code, in SciPy."""

import jax
import numpy as np
import pytest
import scipy.signal

from ecgjax.errors import InputError
from ecgjax.filters import apply_filters, running_median
from ecgjax.preprocessing import Preprocessing, preprocess


def _signal(samples=2000, leads=2):
    """Wandering noise with mains hum, [time, lead] in mV."""
    rng = np.random.default_rng(0)
    wander = rng.normal(0, 0.02, (samples, leads)).cumsum(0)
    hum = np.sin(2 * np.pi * 50 * np.arange(samples) / 500)[:, None]
    return wander + rng.normal(0, 0.1, (samples, leads)) + 0.3 * hum


def _clef(signal):
    # The published code has filtfilt, which loses four digits at this order.
    band = scipy.signal.butter(5, [0.67, 40], "band", output="sos", fs=500)
    return scipy.signal.sosfiltfilt(band, signal, 0)


def _ecgfounder(signal):
    signal = scipy.signal.filtfilt(*scipy.signal.iirnotch(50, 30, 500), signal, 0)
    signal = scipy.signal.filtfilt(*scipy.signal.butter(4, [0.67, 40], "band", fs=500), signal, 0)
    median = [scipy.signal.medfilt(lead, 201) for lead in signal.T]
    return signal - np.transpose(median)


@pytest.mark.parametrize(
    ("name", "published", "tolerance"), [("clef", _clef, 1e-4), ("ecgfounder", _ecgfounder, 2e-2)]
)
def test_filters_have_the_published_values(name, published, tolerance):
    signal = _signal()
    filtered = jax.jit(lambda signal: apply_filters(signal, name, rate_hz=500.0))(
        signal.astype(np.float32)[None]
    )[0]
    expected = published(signal)
    assert np.abs(filtered - expected).max() < tolerance * np.abs(expected).max()


def test_running_median_is_exact_up_to_256_samples():
    rows = np.random.default_rng(0).normal(2, 0.3, (3, 250)).astype(np.float32)
    expected = [scipy.signal.medfilt(row, 21) for row in rows]
    np.testing.assert_array_equal(running_median(rows, 21), np.float32(expected))


def test_filters_come_before_the_normalisation_and_after_resampling():
    stored = (1000 * _signal(1000)[:, :1]).round().astype(np.int16).repeat(12, 1)
    settings = Preprocessing(
        rate_hz=250.0, leads=("I",), baseline="none", filters="clef", normalisation="zscore_lead"
    )
    values = np.asarray(preprocess(stored, settings, rate_hz=250.0))[:, 0]
    band = scipy.signal.butter(5, [0.67, 40], "band", output="sos", fs=250)
    expected = scipy.signal.sosfiltfilt(band, stored[:, 0] / 1000)
    np.testing.assert_allclose(values, (expected - expected.mean()) / expected.std(), atol=5e-3)


def test_an_unknown_filter_is_refused():
    with pytest.raises(InputError, match="preprocessing: 'notch'; give none, clef, ecgfounder"):
        Preprocessing(filters="notch")
