"""Windows of recordings: sampling rates, gaps and lengths."""

import datetime

import numpy as np
import pytest

from ecgjax.signals import MISSING
from tfds_builders.recording import windows
from tfds_builders.recording.quality import RecordingError
from tfds_builders.recording.recording import Recording, RecordingsConfig

CONFIG = RecordingsConfig(name="100hz", rate_hz=100, samples=1000)


def _tone(rate_hz: float, seconds: float, tone_hz: float) -> np.ndarray:
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return 1000 * np.sin(2 * np.pi * tone_hz * time_s)[:, None] + np.array([0, 500])


@pytest.mark.parametrize(
    "from_hz", [100, 128, 200, 240, 250, 257, 360, 400, 500, 512, 977, 1000, 2000]
)
def test_resampling_keeps_low_tones_and_removes_tones_above_the_new_range(from_hz):
    signal = _tone(from_hz, 12, 8).round().astype(np.int16)
    resampled = windows.resample(signal, from_hz=from_hz, to_hz=100, origin="a")
    assert resampled.dtype == np.int16 and len(resampled) == 1200
    inner = slice(50, -50)
    np.testing.assert_allclose(resampled[inner], _tone(100, 12, 8)[inner], atol=3)
    if from_hz > 200:
        resampled = windows.resample(
            _tone(from_hz, 12, 70).round().astype(np.int16), from_hz=from_hz, to_hz=100, origin="a"
        )
        assert np.abs(resampled[inner] - [0, 500]).max() < 5


def test_an_offset_causes_no_step_at_the_ends():
    signal = np.full((5000, 12), 3000, np.int16)
    resampled = windows.resample(signal, from_hz=500, to_hz=100, origin="a")
    assert np.abs(resampled.astype(int) - 3000).max() <= 1


def test_missing_samples_stay_missing_and_cause_no_ringing():
    signal = _tone(500, 10, 1).round().astype(np.int16)
    signal[1000:1400, 0] = MISSING
    signal[2003, 1] = MISSING
    resampled = windows.resample(signal, from_hz=500, to_hz=100, origin="a")
    gaps = resampled == MISSING
    # Both ends of the gap, and no other sample.
    assert np.flatnonzero(gaps[:, 0]).tolist() == list(range(200, 281))
    assert np.flatnonzero(gaps[:, 1]).tolist() == [400, 401]
    around = ~gaps[:, 0]
    np.testing.assert_allclose(resampled[around, 0], _tone(100, 10, 1)[around, 0], atol=40)
    up = windows.resample(signal, from_hz=500, to_hz=1000, origin="a")
    assert np.flatnonzero(up[:, 1] == MISSING).tolist() == [4005, 4006, 4007]


def test_a_missing_lead_stays_missing():
    signal = np.full((5000, 12), 7, np.int16)
    signal[:, 3] = MISSING
    resampled = windows.resample(signal, from_hz=500, to_hz=100, origin="a")
    assert (resampled[:, 3] == MISSING).all() and (np.delete(resampled, 3, axis=1) == 7).all()


@pytest.mark.parametrize(
    "from_hz", [0.0, -500.0, float("nan"), float("inf"), 1e-9, 49, 1e300, 101.234]
)
def test_a_rate_that_is_no_ecg_rate_is_rejected(from_hz):
    with pytest.raises(RecordingError, match="a: .* Hz.*; ") as caught:
        windows.resample(np.zeros((500, 12), np.int16), from_hz=from_hz, to_hz=100, origin="a")
    assert caught.value.reason == "rate"


def test_windows_follow_each_other_without_overlap():
    recording = Recording(
        record_id="r",
        source_patient_id="p",
        split="train",
        location="r.hea",
        recorded_at=datetime.datetime(2000, 1, 1),
    )
    divided = windows.divide(recording, samples=38_400, from_hz=1000, config=CONFIG)
    assert [(window.record_id, window.location) for window in divided] == [
        (f"r-w{index + 1}", ("r.hea", index)) for index in range(3)
    ]
    assert [window.recorded_at.second for window in divided if window.recorded_at] == [0, 10, 20]
    signal = np.arange(3840)[:, None].repeat(12, 1).astype(np.int16)
    starts = [int(windows.cut(signal, index, CONFIG, "r")[0, 0]) for index in range(3)]
    assert starts == [0, 1000, 2000]
    for samples in (10, 9_999, 10_000, 19_989):
        (only,) = windows.divide(recording, samples=samples, from_hz=1000, config=CONFIG)
        assert only.record_id == "r" and only.location == ("r.hea", 0)


def test_a_short_recording_is_rejected():
    message = "r: 9.99 s instead of at least 10 s; leave it out"
    with pytest.raises(RecordingError, match=message) as caught:
        windows.cut(np.zeros((999, 12), np.int16), 0, CONFIG, "r")
    assert caught.value.reason == "length"
