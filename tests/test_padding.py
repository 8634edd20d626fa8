"""Padding at the ends and dropouts in between: zeros, repeated values and missing samples."""

import numpy as np
import pytest

from ecgjax.signals import LEADS, MISSING
from tfds_builders.recording import padding


def _signal(time: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 900, (time, 12)).astype(np.int16)


@pytest.mark.parametrize("fill", ["zeros", "edge", "missing", "level", "missing outside zeros"])
@pytest.mark.parametrize(("before", "after"), [(0, 300), (300, 0), (140, 160), (25, 25)])
def test_padding_goes_to_the_end_as_missing_samples(fill, before, after):
    signal = _signal(700)
    if fill == "edge":
        padded = np.pad(signal, ((before, after), (0, 0)), mode="edge")
    else:
        value = {"zeros": 0, "level": 8192}.get(fill, MISSING)
        padded = np.pad(signal, ((before, after), (0, 0)), constant_values=value)
        if fill == "missing outside zeros":
            padded[before // 2 : before] = 0
            padded[before + 700 : before + 700 + after // 2] = 0
    moved = padding.move_to_start(padded, 50)
    valid = padding.valid_samples(moved)
    assert 700 - 2 <= valid <= 700  # a run of repeated values includes the sample that is repeated
    first = 1 if fill == "edge" and before else 0
    np.testing.assert_array_equal(moved[: valid - 1], signal[first : first + valid - 1])
    assert (moved[valid:] == MISSING).all() and len(moved) == len(padded)


def test_a_recording_without_padding_stays_as_it_is():
    signal = _signal(500)
    signal[:15] = signal[0]  # 0.15 s; PTB-XL at 500 Hz repeats its last value for 0.1 s
    signal[200:300] = 0  # in the middle
    signal[-80:, : len(LEADS) - 1] = 0  # not in all leads
    assert padding.move_to_start(signal, 100) is signal
    assert padding.valid_samples(signal) == 500


@pytest.mark.parametrize("value", [0, 77, MISSING])
def test_a_recording_of_nothing_else_stays_as_it_is(value):
    signal = np.full((500, 12), value, np.int16)
    assert padding.move_to_start(signal, 100) is signal
    assert padding.valid_samples(signal) == (0 if value == MISSING else 500)


def test_absent_leads_do_not_count():
    signal = _signal(500)
    signal[:, 1:] = MISSING
    assert padding.move_to_start(signal, 100) is signal
    signal[:100, 0] = 0
    moved = padding.move_to_start(signal, 100)
    np.testing.assert_array_equal(moved[:400, 0], signal[100:, 0])
    assert padding.valid_samples(moved) == 400
    assert padding.valid_samples(signal[:0]) == 0


@pytest.mark.parametrize("fill", ["zeros", "level", "edge"])
@pytest.mark.parametrize("leads", [12, 1])
@pytest.mark.parametrize("start", [100, 137, 300])
def test_a_second_of_one_value_in_all_leads_becomes_a_gap(fill, leads, start):
    signal = _signal(500)
    signal[:, leads:] = MISSING
    present = signal[start : start + 100, :leads]
    present[:] = {"zeros": 0, "level": 8192, "edge": signal[start - 1, :leads]}[fill]
    marked = padding.mark_dropouts(signal, 100)
    first = start - (fill == "edge")  # the sample that is repeated belongs to the run
    assert (marked[first : start + 100] == MISSING).all()
    rest = np.r_[:first, start + 100 : 500]
    np.testing.assert_array_equal(marked[rest], signal[rest])


@pytest.mark.parametrize("kind", ["short", "in eleven leads", "nothing else"])
def test_other_runs_stay_as_they_are(kind):
    signal = _signal(500)
    rows = {"short": slice(100, 199), "nothing else": slice(None)}.get(kind, slice(100, 300))
    signal[rows, : 11 if kind == "in eleven leads" else 12] = 0
    assert padding.mark_dropouts(signal, 100) is signal
