"""Errors of onsets and offsets, against a matcher that tries all pairs and worked examples."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from ecgjax.errors import InputError
from ecgjax.evaluate.boundaries import (
    AAMI_MS,
    BOUNDARIES,
    TOLERANCE_MS,
    count_boundaries,
    f1_bootstrap,
    find_boundaries,
    match,
)
from ecgjax.evaluate.predictions import Predictions
from ecgjax.signals import UNMARKED, WAVES
from ecgjax.workflows.waves import Waves

BEAT = [(1, 10, 19), (2, 24, 33), (3, 45, 64)]
"""Waves of a beat at 100 Hz: class, first and last sample."""


def _recording(beats: Sequence[int] = range(0, 400, 100), samples=500, shifts=(0, 0, 0, 0, 0, 0)):
    """Returns wave labels of beats whose boundaries are shifted by so many samples."""
    labels = np.zeros(samples, np.uint8)
    for start in beats:
        for (wave, first, last), early, late in zip(BEAT, shifts[::2], shifts[1::2], strict=True):
            labels[start + first + early : start + last + 1 + late] = wave
    return labels


def _best(true, predicted, limit):
    """Returns the number of pairs and their summed distance in the best of all assignments."""
    few, many = sorted((true, predicted), key=len)
    results = []
    for chosen in itertools.permutations(range(len(many)), len(few)):
        distances = [abs(int(few[k]) - int(many[column])) for k, column in enumerate(chosen)]
        near = [distance for distance in distances if distance <= limit]
        results.append((-len(near), sum(near)))
    pairs, total = min(results)
    return -pairs, total


@pytest.mark.parametrize("seed", range(40))
def test_pairs_are_those_of_the_best_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    true, predicted = (np.sort(rng.choice(40, rng.integers(0, 6), replace=False)) for _ in range(2))
    found = match(true, predicted, limit=5)
    assert (len(found), np.abs(found).sum()) == _best(true, predicted, 5)


def test_a_pair_takes_the_nearer_boundary_unless_another_pair_would_be_lost():
    assert match(np.array([10]), np.array([7, 11]), 5).tolist() == [1]
    assert sorted(match(np.array([10, 14]), np.array([6, 10]), 5)) == [-4, -4]
    assert match(np.array([10]), np.array([16]), 5).size == 0
    assert match(np.array([], int), np.array([3]), 5).size == 0


def test_boundaries_are_first_and_last_samples_but_not_where_the_recording_cuts_a_wave():
    labels = np.array([3, 3, 0, 1, 1, 0, 2, 2, 2, 3, 3, 0, 1])
    found = {name: samples.tolist() for name, samples in find_boundaries(labels).items()}
    expected = ([3, 12], [4], [6], [8], [9], [1, 10])
    assert found == dict(zip(BOUNDARIES, expected, strict=True))


def test_errors_and_counts_of_shifted_waves():
    truth = _recording()[None]
    predicted = _recording(shifts=(-2, 3, 1, 5, 0, -11))[None]
    narrow = count_boundaries(truth, predicted, rate_hz=100, tolerances_ms=TOLERANCE_MS)
    wide = dict.fromkeys(BOUNDARIES, AAMI_MS)
    counts = count_boundaries(truth, predicted, rate_hz=100, tolerances_ms=wide)
    means = [errors.mean() for errors in counts.errors_ms]
    assert means == [-20, 30, 10, 50, 0, -110] and all(map(len, counts.errors_ms))
    # Four beats each; the QRS offset is 50 ms late with 40 allowed, the T offset 110 ms early.
    assert narrow.matched.tolist() == [[4, 4, 4, 0, 4, 0]]
    assert narrow.sensitivity.tolist() == narrow.ppv.tolist() == [1, 1, 1, 0, 1, 0]
    assert TOLERANCE_MS["T offset"] == 100 and TOLERANCE_MS["QRS offset"] == 40
    with pytest.raises(InputError, match="give the same recordings and rate"):
        count_boundaries(truth, predicted[:, :10], rate_hz=100, tolerances_ms=wide)


def test_only_what_is_near_a_mark_counts():
    """The first beat is not marked; its waves and those 100 ms from the marks are no errors."""
    truth = _recording(beats=(100, 200))
    truth[:110] = UNMARKED
    truth[265:] = UNMARKED
    predicted = _recording(beats=(0, 100, 200, 300))
    predicted[100:108] = 2  # from 100 ms before the first mark on: an error, onset and offset
    counts = count_boundaries(truth[None], predicted[None], rate_hz=100, tolerances_ms=TOLERANCE_MS)
    assert counts.marked.tolist() == [[2] * 6]
    assert counts.predicted.tolist() == [[2, 2, 3, 3, 2, 2]]
    assert counts.matched.tolist() == [[2] * 6]


def test_f1_is_that_of_all_recordings_together_and_its_interval_that_of_patients():
    rng = np.random.default_rng(0)
    truth = np.stack([_recording() for _ in range(40)])
    truth[:8][truth[:8] == 1] = 0  # atrial fibrillation: no P wave
    predicted = np.stack([_recording(shifts=rng.integers(-5, 5, 6)) for _ in range(40)])
    patients = np.arange(40) // 2
    counts = count_boundaries(truth, predicted, rate_hz=100, tolerances_ms=TOLERANCE_MS)
    f1 = f1_bootstrap(counts, patients, draws=500)
    matched = counts.matched.sum(0)
    sensitivity = matched / [128, 128, 160, 160, 160, 160]
    ppv = matched / 160
    expected = 2 * sensitivity * ppv / (sensitivity + ppv)
    np.testing.assert_allclose(f1.values["model"], expected)
    np.testing.assert_allclose(counts.sensitivity, sensitivity)
    np.testing.assert_allclose(counts.ppv, ppv)
    each = f1.per_class("model")
    assert all(interval.low < interval.value < interval.high for interval in each[1:4])
    doubled = [np.concatenate([part, part]) for part in (truth, predicted)]
    again = count_boundaries(*doubled, rate_hz=100, tolerances_ms=TOLERANCE_MS)
    same = f1_bootstrap(again, np.concatenate([patients, patients]), draws=500)
    np.testing.assert_allclose(same.draws["model"], f1.draws["model"])


def test_results_of_the_target_have_every_boundary_and_undefined_figures_as_none():
    truth = np.stack([_recording(), _recording()])
    truth[truth == 1] = 0
    predictions = Predictions(np.arange(2), np.arange(2), truth, truth)
    results = Waves().results(predictions, 100.0)
    figures = results["boundaries"]
    assert list(figures) == [*BOUNDARIES, "mean"] and set(results["dice"]) == {*WAVES[1:], "mean"}
    assert figures["mean"]["f1"] == [1, 1, 1] and figures["T offset"]["sd_error_ms"] == 0
    assert figures["P onset"]["marked"] == 0 and figures["P onset"]["mean_error_ms"] is None
    lines = Waves().details("test", results)
    assert len(lines) == 9 and lines[3].split() == ["P", "offset", "-", "-"]
    assert lines[4].split() == "QRS onset 1.000 (1.000-1.000) 1.000 1.000 0.0 +- 0.0".split() + [
        "1.000",
        "(1.000-1.000)",
    ]
