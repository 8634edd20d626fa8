"""Windows of recordings of any length, and the mean over them."""

from typing import Any

import numpy as np
import pytest

from ecgjax.data.inference import Windows, average_over_windows, divide, divide_records
from ecgjax.errors import InputError
from ecgjax.signals import MISSING


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (5000, Windows(5000, (0,))),
        (4999, Windows(5000, (0,))),
        (5001, Windows(5000, (0,))),
        (4000, Windows(4000, (0,))),
        (3580, Windows(3500, (0,))),
        (1250, Windows(1250, (0,))),
        (6000, Windows(5000, (0, 1000))),
        (10_000, Windows(5000, (0, 5000))),
        (12_500, Windows(5000, (0, 3750, 7500))),
    ],
)
def test_a_recording_is_divided_into_windows_of_the_encoder(samples, expected):
    assert divide(samples, rate_hz=500, window_s=10) == expected


def test_every_sample_of_a_long_recording_is_in_a_window():
    for samples in range(5126, 30_000, 977):
        windows = divide(samples, rate_hz=500, window_s=10)
        covered = np.zeros(samples, bool)
        for start in windows.starts:
            covered[start : start + windows.length] = True
        assert covered.all() and windows.starts[-1] + windows.length == samples


def test_recordings_below_the_shortest_window_are_refused():
    with pytest.raises(InputError, match="1000 samples at 500 Hz are 2 s; give 2.5 s or more"):
        divide(1000, rate_hz=500, window_s=10)
    assert divide(100, rate_hz=100, window_s=1) == Windows(100, (0,))


def test_an_impossible_batch_size_is_refused():
    with pytest.raises(InputError, match="batch size 0: give 1 or more"):
        average_over_windows(lambda batch: batch, lambda rows: rows, [Windows(5, (0,))], 0)


class _Padded:
    """Prepared recordings of 10 s at 100 Hz, filled up from 1, 2.4 and 6 s."""

    rate_hz = 100
    samples = 1000
    valid_samples = np.array([100, 240, 600], np.int32)


def test_a_filled_up_recording_has_at_least_the_shortest_window():
    records: Any = _Padded()
    expected = [Windows(250, (0,)), Windows(250, (0,)), Windows(600, (0,))]
    assert divide_records(records, np.arange(3), window_s=10) == expected
    assert divide_records(records, np.arange(1), window_s=1) == [Windows(100, (0,))]


def test_the_result_is_the_mean_over_windows_in_the_order_of_recordings():
    rng = np.random.default_rng(0)
    signals = rng.integers(-999, 999, size=(5, 30, 2)).astype(np.int16)
    windows = [
        Windows(10, (0, 20)),
        Windows(8, (0,)),
        Windows(10, (3,)),
        Windows(10, (0, 10, 20)),
        Windows(8, (2,)),
    ]
    sizes = []

    def step(batch: np.ndarray) -> np.ndarray:
        sizes.append(batch.shape)
        return batch.mean(1, dtype=np.float64)

    result = average_over_windows(step, signals.__getitem__, windows, batch_size=4)
    expected = [
        np.mean([signal[start : start + length].mean(0) for start in starts], axis=0)
        for signal, (length, starts) in zip(signals, windows, strict=True)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert set(sizes) == {(4, 8, 2), (4, 10, 2)}


def test_a_window_beyond_the_end_is_filled_up_with_missing_samples():
    signals = np.ones((1, 7, 2), np.int16)
    result = average_over_windows(
        lambda batch: batch, signals.__getitem__, [Windows(10, (0,))], batch_size=1
    )
    assert (result[0, :7] == 1).all() and (result[0, 7:] == MISSING).all()
