"""Windows of recordings: sampling rates, gaps and lengths."""

import datetime

import numpy as np
import pytest

from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording import padding, windows
from tfds_builders.recording.leads import StoredSignal
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


@pytest.mark.parametrize("from_hz", [0.0, -500.0, float("nan"), float("inf"), 1e-9, 49, 1e300])
def test_a_rate_that_is_no_ecg_rate_is_rejected(from_hz):
    with pytest.raises(RecordingError, match="a: .* Hz.*; ") as caught:
        windows.resample(np.zeros((500, 12), np.int16), from_hz=from_hz, to_hz=100, origin="a")
    assert caught.value.reason == "rate"
    with pytest.raises(RecordingError, match="a: .* Hz"):
        windows.convert(
            np.zeros((500, 12)), LEADS, from_hz=from_hz, window=0, config=CONFIG, origin="a"
        )


RECORDING = Recording(
    record_id="r",
    source_patient_id="p",
    split="train",
    location="r.hea",
    recorded_at=datetime.datetime(2000, 1, 1),
)


def _config(seconds: float, pad_from_s: float | None = None) -> RecordingsConfig:
    return RecordingsConfig(
        name="c", rate_hz=100, samples=round(100 * seconds), pad_from_s=pad_from_s
    )


def _ecg(seconds: float, rate_hz: int = 100) -> np.ndarray:
    """Returns twelve different leads in microvolts, none of them constant."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 800 * np.sin(2 * np.pi * np.outer(time_s, np.linspace(1, 3, 12)) + 0.3)


def _convert(value_uv: np.ndarray, config: RecordingsConfig, window: int = 0, from_hz: int = 100):
    return windows.convert(
        value_uv, LEADS, from_hz=from_hz, window=window, config=config, origin="r"
    )


def test_windows_follow_each_other_without_overlap():
    divided = windows.divide(RECORDING, samples=38_400, from_hz=1000, config=CONFIG)
    assert [(window.record_id, window.location) for window in divided] == [
        (f"r-w{index + 1}", ("r.hea", index)) for index in range(3)
    ]
    assert [window.recorded_at.second for window in divided if window.recorded_at] == [0, 10, 20]
    signal = np.arange(3840)[:, None].repeat(12, 1).astype(np.int16)
    starts = [int(windows.cut(signal, index, CONFIG, "r")[0, 0]) for index in range(3)]
    assert starts == [0, 1000, 2000]
    for samples in (10, 9_999, 10_000, 19_989):
        (only,) = windows.divide(RECORDING, samples=samples, from_hz=1000, config=CONFIG)
        assert only.record_id == "r" and only.location == ("r.hea", 0)


@pytest.mark.parametrize(
    ("seconds", "pad_from_s", "length_s", "expected"),
    [
        (8, None, 10, 1),  # 2 s are dropped
        (1, None, 10.5, 10),
        (2.5, None, 10, 4),
        (10, 7, 37, 4),
        (10, 7, 36.9, 3),
        (10, 7, 5, 1),  # rejected when it is read
    ],
)
def test_the_number_of_windows_follows_from_lengths(seconds, pad_from_s, length_s, expected):
    config = _config(seconds, pad_from_s)
    samples = round(1000 * length_s)
    divided = windows.divide(RECORDING, samples=samples, from_hz=1000, config=config)
    assert len(divided) == expected
    value_uv = _ecg(length_s)
    for index in range(expected - (length_s < (pad_from_s or 0))):
        signal = _convert(value_uv, config, index)["signal"]
        assert signal.shape == (config.samples, 12)
        start = index * config.samples
        valid = min(config.samples, len(value_uv) - start)
        np.testing.assert_allclose(signal[:valid], value_uv[start : start + valid], atol=0.5)
        assert (signal[valid:] == MISSING).all()


@pytest.mark.parametrize(
    ("length_s", "remedy"),
    [
        (9.99, "--pad-from 9.9 .*--seconds 9.9 "),
        (7.3, "--pad-from 7.3 .*--seconds 7.3 "),
        (1, "--pad-from 1 .*--seconds 1 "),
        (0.5, "$"),
        (0, "$"),
    ],
)
def test_a_short_recording_is_rejected_with_options_that_keep_it(length_s, remedy):
    message = f"r: {length_s} s instead of at least 10 s; leave it out.*{remedy}"
    signal = _ecg(length_s).astype(np.int16)
    with pytest.raises(RecordingError, match=message) as caught:
        windows.cut(signal, 0, CONFIG, "r")
    assert caught.value.reason == "length" and "\n" not in str(caught.value)
    if length_s >= 1:
        fitting_s = float(remedy.split()[1])
        assert windows.cut(signal, 0, _config(fitting_s), "r").shape == (100 * fitting_s, 12)
        kept = windows.cut(signal, 0, _config(10, fitting_s), "r")
        assert padding.valid_samples(kept) == round(100 * length_s)


def test_recordings_below_the_padded_length_are_rejected():
    with pytest.raises(
        RecordingError, match=r"r: 6.99 s instead of at least 7 s; .*--pad-from 6.9"
    ):
        windows.cut(_ecg(6.99).astype(np.int16), 0, _config(10, 7), "r")


@pytest.mark.parametrize("from_hz", [100, 500])
@pytest.mark.parametrize(("before_s", "after_s"), [(0, 3), (3, 0), (1.4, 1.6)])
def test_zeros_at_the_ends_are_missing_samples_at_the_end(from_hz, before_s, after_s):
    value_uv = _ecg(7, from_hz)
    rows = (round(before_s * from_hz), round(after_s * from_hz))
    padded = np.pad(value_uv, (rows, (0, 0)))
    for config in (CONFIG, _config(10, 7)):
        signal = _convert(padded, config, from_hz=from_hz)["signal"]
        valid = padding.valid_samples(signal)
        assert 698 <= valid <= 700 and (signal[:valid] != MISSING).all()
        np.testing.assert_allclose(signal[5 : valid - 5], _ecg(7)[5 : valid - 5], atol=3)
    with pytest.raises(RecordingError, match="7 s instead of at least 8 s"):
        _convert(padded, _config(10, 8), from_hz=from_hz)


def test_a_window_after_a_gap_begins_with_its_first_sample():
    value_uv = _ecg(20)
    value_uv[800:1200] = np.nan
    first, second = (_convert(value_uv, CONFIG, index)["signal"] for index in range(2))
    np.testing.assert_allclose(first[:800], value_uv[:800], atol=0.5)
    np.testing.assert_allclose(second[:800], value_uv[1200:], atol=0.5)
    assert (first[800:] == MISSING).all() and (second[800:] == MISSING).all()


def test_a_filter_that_overshoots_does_not_reject_a_recording():
    value_uv = _ecg(10, 500)
    value_uv[:, 6] += 31_900 - value_uv[:, 6].max()
    value_uv[2000:3000, 6] = 32_700  # without an offset this lead fits by far
    example = _convert(value_uv, CONFIG, from_hz=500)
    assert example["flags"] == ("offset:V1",)
    np.testing.assert_allclose(
        np.diff(example["signal"][5:390, 6].astype(int)), np.diff(value_uv[25:1950:5, 6]), atol=3
    )
    spike = _ecg(10, 500)
    spike[2000:2050, 6] = 32_700
    example = _convert(spike, CONFIG, from_hz=500)
    assert example["flags"] == () and example["signal"][:, 6].max() == 32_767


def test_offsets_stored_in_16_bits_are_removed_before_a_filter_only():
    signal = _ecg(10, 500).round().astype(np.int16)
    signal[:, 2] += 31_000
    stored = StoredSignal(signal)
    same = windows.to_rate(stored, from_hz=500, to_hz=500, origin="r")
    assert same.signal is signal and same.flags == ()
    slower = windows.to_rate(stored, from_hz=500, to_hz=100, origin="r")
    assert slower.flags == ("offset:III",) and np.abs(slower.signal.astype(int)).max() < 1700
